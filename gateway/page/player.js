// Plays an asset: HLS where the browser has it, else hls.js when it is installed on this farm, else the progressive MP4.

let attached = null;

export async function play(video, assets, how) {
  stop(video);
  video.poster = assets.thumbnail || '';
  const hls = assets.hls && (await waysToHls(video));
  if (hls === 'native') {
    video.onerror = () => {
      how.textContent = 'HLS failed; playing the MP4.';
      playMp4(video, assets);
    };
    video.src = assets.hls;
    how.textContent = 'Playing HLS by the browser itself.';
  } else if (hls) {
    attached = new hls({ enableWorker: false });
    attached.on(hls.Events.ERROR, (_, error) => {
      if (!error.fatal) return;
      how.textContent = `HLS failed (${error.details}); playing the MP4.`;
      playMp4(video, assets);
    });
    attached.loadSource(assets.hls);
    attached.attachMedia(video);
    how.textContent = 'Playing HLS by hls.js.';
  } else {
    how.textContent = 'Playing the MP4: this browser has no HLS, and hls.js is not installed on this farm.';
    playMp4(video, assets);
  }
}

export function stop(video) {
  attached?.destroy();
  attached = null;
  video.onerror = null;
  video.removeAttribute('src');
  video.load();
}

async function waysToHls(video) {
  if (!window.MediaSource && video.canPlayType('application/vnd.apple.mpegurl')) return 'native';
  try {
    const { default: Hls } = await import('/players/hls.mjs');
    if (Hls.isSupported()) return Hls;
  } catch { /* not installed */ }
  return video.canPlayType('application/vnd.apple.mpegurl') ? 'native' : null;
}

function playMp4(video, assets) {
  attached?.destroy();
  attached = null;
  video.onerror = null;
  const best = assets.mp4.at(-1);
  if (best) video.src = best.url;
}
