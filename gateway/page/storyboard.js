// A strip under the player: point at it to see the picture of that moment, click to go there.

export async function showStoryboard(url, video, strip, peek) {
  strip.hidden = true;
  peek.hidden = true;
  if (!url) return;
  const answer = await fetch(url);
  if (!answer.ok) return;
  const tiles = readTiles(await answer.text(), answer.url);
  if (!tiles.length) return;
  strip.hidden = false;
  const at = (event) => {
    const box = strip.getBoundingClientRect();
    return Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1);
  };
  strip.onpointermove = (event) => {
    const share = at(event);
    const end = video.duration || tiles.at(-1).end;
    const tile = tiles.find((one) => share * end < one.end) || tiles.at(-1);
    peek.hidden = false;
    peek.style.width = `${tile.w}px`;
    peek.style.height = `${tile.h}px`;
    peek.style.left = `${share * Math.max(strip.clientWidth - tile.w, 0)}px`;
    peek.style.background = `url("${tile.image}") -${tile.x}px -${tile.y}px`;
  };
  strip.onpointerleave = () => { peek.hidden = true; };
  strip.onclick = (event) => { if (video.duration) video.currentTime = at(event) * video.duration; };
}

const seconds = (text) => text.split(':').reduce((sum, part) => sum * 60 + Number(part), 0);

function readTiles(vtt, base) {
  const found = [];
  for (const match of vtt.matchAll(/([\d:.]+) --> ([\d:.]+).*\r?\n(\S+)#xywh=(\d+),(\d+),(\d+),(\d+)/g)) {
    const [x, y, w, h] = match.slice(4).map(Number);
    found.push({ end: seconds(match[2]), image: new URL(match[3], base).href, x, y, w, h });
  }
  return found;
}
