// Plays an asset whose frames say their number, and reports what the screen showed.

import Hls from 'hls.js';
import * as dashjs from 'dashjs';

const BITS = 12; // of the number in the top sixth of the picture: tests/media_clips.py

const state = (video) => JSON.stringify({
  time: video.currentTime, duration: video.duration, paused: video.paused, ended: video.ended, rate: video.playbackRate,
  ready: video.readyState, network: video.networkState, error: video.error?.message,
  buffered: Array.from({ length: video.buffered.length }, (_, i) => [video.buffered.start(i), video.buffered.end(i)]),
});

const happened = (target, name, ms = 60000) => new Promise((done, fail) => {
  const timer = setTimeout(() => fail(new Error(`no ${name} in ${ms} ms: ${state(target)}`)), ms);
  target.addEventListener(name, () => { clearTimeout(timer); done(); }, { once: true });
});

// The attribute, not the event: dash.js 5.2.1 may pause in the instant in which the end is reached, and Chromium then
// holds the element for ended without ever saying so.
const atEnd = async (video, ms = 60000) => {
  for (const start = performance.now(); !video.ended;) {
    if (performance.now() - start > ms) throw new Error(`not ended in ${ms} ms: ${state(video)}`);
    await pause(20);
  }
};

const pause = (ms) => new Promise((done) => { setTimeout(done, ms); });

function readNumber(video) {
  const canvas = document.createElement('canvas');
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  const pen = canvas.getContext('2d', { willReadFrequently: true });
  pen.drawImage(video, 0, 0);
  const block = canvas.width / BITS;
  const band = canvas.height / 6;
  let number = 0;
  for (let bit = 0; bit < BITS; bit += 1) {
    const { data } = pen.getImageData((bit + 0.3) * block, band * 0.3, block * 0.4, band * 0.4);
    let sum = 0;
    for (let at = 0; at < data.length; at += 4) sum += data[at];
    if (sum / (data.length / 4) > 126) number |= 1 << bit;
  }
  return number;
}

function open(kind, url, video, errors) {
  if (kind === 'hls') {
    const player = new Hls({ maxBufferLength: 60, enableWorker: false });
    player.on(Hls.Events.ERROR, (_, error) => errors.push(`${error.type}: ${error.details}`));
    player.loadSource(url);
    player.attachMedia(video);
    return () => player.destroy();
  }
  const player = (dashjs.MediaPlayer ?? dashjs.default.MediaPlayer)().create();
  player.updateSettings({ streaming: { buffer: { bufferTimeDefault: 60, bufferTimeAtTopQuality: 60 } } });
  player.on('error', (event) => errors.push(JSON.stringify(event.error ?? event)));
  player.initialize(video, url, false);
  return () => player.reset();
}

window.play = async (kind, url, fps, frames) => {
  const video = Object.assign(document.createElement('video'), { muted: true });
  document.body.replaceChildren(video);
  const errors = [];
  const close = open(kind, url, video, errors);
  await happened(video, 'loadeddata');
  const seeks = [];
  for (const frame of frames) {
    const sought = happened(video, 'seeked');
    video.currentTime = (frame + 0.5) / fps;
    await sought;
    // 'seeked' says the decoder is there; the compositor may still hold the picture before. And hls.js 1.7.4 never ends
    // the stream when a seek comes within its tick of 100 ms after the last piece was appended: no viewer is that fast.
    await pause(150);
    for (let tried = 0; tried < 40 && readNumber(video) !== frame; tried += 1) await pause(50);
    seeks.push([frame, readNumber(video)]);
  }
  const back = happened(video, 'seeked');
  video.currentTime = 0;
  await back;
  let stalls = 0;
  video.addEventListener('waiting', () => { stalls += 1; });
  video.playbackRate = 2;
  await video.play();
  await atEnd(video);
  const buffered = Array.from({ length: video.buffered.length }, (_, i) => [video.buffered.start(i), video.buffered.end(i)]);
  const report = { seeks, errors, stalls, buffered, duration: video.duration, last: readNumber(video), height: video.videoHeight };
  close();
  return report;
};
window.ready = true;
