// The API as functions: adds the token, reads problem documents, and reads event streams with their last event id.

const KEY = 'reelmill.token';

export function takeToken() {
  // `reelmill up` prints …/#token=…: a fragment never leaves the browser, and it is taken out of the address at once.
  const found = new URLSearchParams(location.hash.slice(1)).get('token');
  if (found) {
    sessionStorage.setItem(KEY, found);
    history.replaceState(null, '', location.pathname);
  }
  return sessionStorage.getItem(KEY);
}

export const keepToken = (token) => sessionStorage.setItem(KEY, token);
export const dropToken = () => sessionStorage.removeItem(KEY);

// Problem details are lower-case clauses without a full stop; hints are sentences.
export const sentence = (text) => text.replace(/^./, (first) => first.toUpperCase()).replace(/([^.!?])$/, '$1.');

export class Problem extends Error {
  constructor(status, document) {
    super([document.detail || document.title || `HTTP ${status}`, document.hint].filter(Boolean).map(sentence).join(' '));
    this.status = status;
    this.code = document.code || 'unknown';
    this.retryable = status >= 500 || status === 429 || status === 408;
  }
}

export async function call(method, path, body, signal) {
  const headers = { Authorization: `Bearer ${sessionStorage.getItem(KEY)}` };
  if (body !== undefined) headers['Content-Type'] = 'application/json';
  const answer = await fetch(path, { method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body) });
  if (answer.status === 204) return null;
  const document = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Problem(answer.status, document);
  return document;
}

// Calls onEvent({id, event, data}) for each event of a video, reconnecting with Last-Event-ID until `signal` aborts.
export async function follow(path, onEvent, signal) {
  let last = null;
  let wait = 1000;
  while (!signal.aborted) {
    try {
      const headers = { Authorization: `Bearer ${sessionStorage.getItem(KEY)}` };
      if (last !== null) headers['Last-Event-ID'] = last;
      const answer = await fetch(path, { headers, signal, cache: 'no-store' });
      if (!answer.ok) {
        if (answer.status < 500 && answer.status !== 429) return;
        throw new Error(`HTTP ${answer.status}`);
      }
      wait = 1000;
      for await (const event of events(answer.body)) {
        if (event.id) last = event.id;
        onEvent(event);
      }
    } catch (error) {
      if (signal.aborted) return;
    }
    await new Promise((done) => setTimeout(done, wait));
    wait = Math.min(wait * 2, 15000);
  }
}

async function* events(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    rest += value;
    const blocks = rest.split(/\r?\n\r?\n/);
    rest = blocks.pop();
    for (const block of blocks) {
      const event = { event: 'message', data: '' };
      for (const line of block.split(/\r?\n/)) {
        const at = line.indexOf(':');
        if (at < 1) continue;
        const name = line.slice(0, at);
        const text = line.slice(at + 1).replace(/^ /, '');
        if (name === 'data') event.data += text;
        else event[name] = text;
      }
      if (event.data) yield { ...event, data: JSON.parse(event.data) };
    }
  }
}
