// The page: signs in, takes files, lists the caller's videos with live progress, and plays them.

import { call, dropToken, follow, keepToken, Problem, sentence, takeToken } from './api.js';
import { play, stop } from './player.js';
import { showStoryboard } from './storyboard.js';
import { upload } from './upload.js';

const $ = (id) => document.getElementById(id);
const BUSY = ['DRAFT', 'UPLOADING', 'UPLOADED', 'PROCESSING'];
const PLAYABLE = ['READY', 'PUBLISHED'];
const WORDS = {
  DRAFT: 'Draft', UPLOADING: 'Uploading', UPLOADED: 'Waiting in the queue', PROCESSING: 'Processing', READY: 'Ready',
  PUBLISHED: 'Published', DELETED: 'Deleted', PROCESSING_FAILED: 'Processing failed', REJECTED_TOO_LONG: 'Too long',
  REJECTED_FORMAT: 'Format not taken', REJECTED_MALWARE: 'Malware found', REJECTED_COPYRIGHT: 'Copyright match',
};
const cards = new Map(); // video id -> { node, watch: AbortController | null, sending: AbortController | null }
let cursor = null;

function show(signedIn) {
  $('sign-in').hidden = signedIn;
  $('upload').hidden = !signedIn;
  $('library').hidden = !signedIn;
}

async function start() {
  if (!takeToken()) return show(false);
  try {
    const me = await call('GET', '/v1/me');
    $('who').textContent = `${me.subject} · ${me.tier}`;
    $('profile').replaceChildren(...me.profiles.map((one) => new Option(`${one.name}: ${one.description}`, one.name)));
    show(true);
    await list();
  } catch (error) {
    if (error.status !== 401) {
      $('who').textContent = `${error instanceof Problem ? error.message : 'The farm does not answer.'} Trying again…`;
      setTimeout(start, 2000);
      return;
    }
    dropToken();
    show(false);
    $('sign-in-error').textContent = error.message;
  }
}

async function list() {
  const page = await call('GET', `/v1/videos?limit=20${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ''}`);
  for (const video of page.videos) {
    const card = cardOf(video.video_id, video.title, false);
    draw(card, video);
    if (BUSY.includes(video.status)) watch(video.video_id, card);
  }
  cursor = page.next_cursor;
  $('more').hidden = !cursor;
  $('empty').hidden = cards.size > 0;
}

function cardOf(id, title, first) {
  if (cards.has(id)) return cards.get(id);
  const node = $('video-card').content.firstElementChild.cloneNode(true);
  node.dataset.video = id;
  node.querySelector('.title').textContent = title;
  $('videos')[first ? 'prepend' : 'append'](node);
  const card = { id, node, watch: null, sending: null };
  cards.set(id, card);
  $('empty').hidden = true;
  return card;
}

function draw(card, video) {
  const at = (selector) => card.node.querySelector(selector);
  card.node.dataset.status = video.status;
  at('.state').textContent = WORDS[video.status] || video.status;
  at('.state').classList.toggle('good', PLAYABLE.includes(video.status));
  const busy = BUSY.includes(video.status);
  const percent = video.progress?.percent ?? 0;
  at('.overall').hidden = !busy;
  if (!card.sending) at('.overall').value = percent;
  at('.overall').setAttribute('aria-label', `${Math.round(percent)} percent`);
  at('.renditions').replaceChildren(...(busy ? video.progress?.renditions ?? [] : []).map(bar));
  at('.error').textContent = video.rejection ? [video.rejection.detail, video.rejection.hint].filter(Boolean).map(sentence).join(' ') : '';
  if (video.thumbnail_url && at('.thumb').getAttribute('src') !== video.thumbnail_url) {
    at('.thumb').src = video.thumbnail_url;
    at('.thumb').hidden = false;
  }
  at('.actions').replaceChildren(...actions(card, video));
}

function bar(rendition) {
  const line = document.createElement('li');
  const meter = Object.assign(document.createElement('progress'), { max: 100, value: rendition.percent });
  meter.setAttribute('aria-label', rendition.name);
  line.append(`${rendition.name} ${Math.round(rendition.percent)} %`, meter);
  return line;
}

function actions(card, video) {
  const made = [];
  const add = (words, action) => made.push(button(card, words, action));
  if (PLAYABLE.includes(video.status)) add('Play', () => open(card.id));
  if (video.status === 'READY') add('Publish', () => call('POST', `/v1/videos/${card.id}/publish`, { visibility: 'public' }));
  if (/^(REJECTED_|PROCESSING_FAILED)/.test(video.status) && video.status !== 'REJECTED_MALWARE') {
    add('Try again', () => call('POST', `/v1/videos/${card.id}/retry`, { profile: $('profile').value }));
  }
  if (video.status === 'PROCESSING' || video.status === 'UPLOADED') {
    if (video.job_id) add('Cancel', () => call('POST', `/v1/jobs/${video.job_id}/cancel`));
  }
  add('Delete', async () => {
    if (!confirm(`Delete “${card.node.querySelector('.title').textContent}” for good?`)) return;
    card.sending?.abort();
    await call('DELETE', `/v1/videos/${card.id}`);
    remove(card);
  });
  return made;
}

function button(card, words, action) {
  const made = Object.assign(document.createElement('button'), { type: 'button', className: 'plain', textContent: words });
  made.setAttribute('aria-label', `${words}: ${card.node.querySelector('.title').textContent}`);
  made.onclick = async () => {
    made.disabled = true;
    try {
      await action();
      if (cards.has(card.id)) await refresh(card);
    } catch (error) {
      card.node.querySelector('.error').textContent = error.message;
    } finally {
      made.disabled = false;
    }
  };
  return made;
}

async function refresh(card) {
  try {
    const video = await call('GET', `/v1/videos/${card.id}/status`);
    draw(card, video);
    if (BUSY.includes(video.status)) {
      watch(card.id, card);
      await explain(card, video);
    } else {
      card.watch?.abort();
      card.watch = null;
      card.node.querySelector('.why').textContent = '';
    }
  } catch (error) {
    if (!(error instanceof Problem) || error.status !== 404) throw error;
    remove(card);
  }
}

function remove(card) {
  card.watch?.abort();
  card.node.remove();
  cards.delete(card.id);
  $('empty').hidden = cards.size > 0;
}

async function explain(card, video) {
  const why = card.node.querySelector('.why');
  if (!video.job_id) { why.textContent = ''; return; }
  const told = await call('GET', `/v1/jobs/${video.job_id}/explain`);
  const soon = told.estimate_s === null ? '' : ` About ${Math.max(1, Math.round(told.estimate_s))} s to go.`;
  why.textContent = told.reason + soon;
}

function watch(id, card) {
  if (card.watch) return;
  card.watch = new AbortController();
  const { signal } = card.watch;
  let due = null;
  const soon = () => { // many events in a row cost one request
    due ??= setTimeout(() => { due = null; if (!signal.aborted) refresh(card).catch(() => {}); }, 250);
  };
  soon();
  follow(`/v1/videos/${id}/events`, soon, signal);
  const slow = setInterval(() => (signal.aborted ? clearInterval(slow) : soon()), 3000); // progress moves between events
}

async function open(id) {
  const video = await call('GET', `/v1/videos/${id}`);
  $('player').hidden = false;
  $('player-title').textContent = video.title;
  $('player-links').replaceChildren(...[['HLS', video.assets.hls], ['DASH', video.assets.dash],
    ...video.assets.mp4.map((one) => [`MP4 ${one.name}`, one.url])].filter(([, url]) => url).map(([words, url]) =>
    Object.assign(document.createElement('a'), { href: url, textContent: words })));
  await play($('video'), video.assets, $('player-how'));
  await showStoryboard(video.assets.storyboard, $('video'), $('strip'), $('peek'));
  $('player').scrollIntoView({ behavior: 'smooth', block: 'start' });
}

async function send(file) {
  const sending = new AbortController();
  let card = null;
  try {
    const id = await upload(file, $('profile').value, {
      onStart: (session) => {
        card = cardOf(session.video_id, file.name, true);
        card.sending = sending;
        draw(card, { status: 'UPLOADING' });
      },
      onProgress: (share) => { card.node.querySelector('.overall').value = share * 100; },
    }, sending.signal);
    card.sending = null;
    await refresh(cardOf(id, file.name, true));
  } catch (error) {
    if (sending.signal.aborted) return;
    if (card) card.sending = null;
    const place = card ? card.node.querySelector('.error') : $('upload-error');
    place.textContent = `${file.name}: ${error.message}${card ? ' Choose the file again to go on where it stopped.' : ''}`;
  }
}

async function sendAll(files) {
  $('upload-error').textContent = '';
  for (const file of files) await send(file);
}

$('sign-in').onsubmit = (event) => {
  event.preventDefault();
  keepToken($('token').value.trim());
  $('token').value = '';
  start();
};
$('file').onchange = () => { const files = [...$('file').files]; $('file').value = ''; sendAll(files); };
$('drop').ondragover = (event) => { event.preventDefault(); $('drop').classList.add('over'); };
$('drop').ondragleave = () => $('drop').classList.remove('over');
$('drop').ondrop = (event) => {
  event.preventDefault();
  $('drop').classList.remove('over');
  sendAll([...event.dataTransfer.files]);
};
$('more').onclick = () => list();
addEventListener('pagehide', () => stop($('video')));
start();
