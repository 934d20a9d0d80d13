// One file into an upload session: parts in parallel, retried with back-off, resumed after a reload or a lost connection.

import { call, Problem } from './api.js';

const PARALLEL = 3; // Source: the upload contract's "upload 3 parts concurrently".
const TRIES = 6;

const memory = (file) => `reelmill.upload.${file.name}.${file.size}.${file.lastModified}`;

export async function upload(file, profile, { onStart, onProgress }, signal) {
  const session = (await resumed(file)) || (await begun(file, profile));
  onStart(session);
  const etags = new Map(session.parts.map((part) => [part.part_number, part.etag]));
  const lengths = Array.from({ length: session.part_count }, (_, i) =>
    Math.min(session.part_size_bytes, file.size - i * session.part_size_bytes));
  const sent = new Map([...etags.keys()].map((number) => [number, lengths[number - 1]]));
  const report = () => onProgress([...sent.values()].reduce((a, b) => a + b, 0) / file.size);
  report();
  const waiting = lengths.map((_, i) => i + 1).filter((number) => !etags.has(number));
  const lane = async () => {
    for (let number = waiting.shift(); number; number = waiting.shift()) {
      const from = (number - 1) * session.part_size_bytes;
      const bytes = file.slice(from, from + lengths[number - 1]);
      etags.set(number, await sendPart(session.upload_id, number, bytes, signal, (n) => { sent.set(number, n); report(); }));
    }
  };
  await Promise.all(Array.from({ length: PARALLEL }, lane));
  const parts = [...etags].sort((a, b) => a[0] - b[0]).map(([part_number, etag]) => ({ part_number, etag }));
  await again(() => call('POST', `/v1/uploads/${session.upload_id}/complete`, { parts }, signal), signal);
  localStorage.removeItem(memory(file));
  return session.video_id;
}

async function resumed(file) {
  const id = localStorage.getItem(memory(file));
  if (!id) return null;
  try {
    const session = await call('GET', `/v1/uploads/${id}`);
    if (['INITIATED', 'IN_PROGRESS'].includes(session.status)) return session;
  } catch (error) {
    if (!(error instanceof Problem) || error.retryable) throw error;
  }
  localStorage.removeItem(memory(file));
  return null;
}

async function begun(file, profile) {
  if (!file.size) throw new Error('The file is empty: there is nothing to process.');
  const started = await call('POST', '/v1/uploads/initiate', {
    title: (file.name.replace(/\.[^.]+$/, '') || file.name).slice(0, 80),
    category: 'other',
    visibility: 'private',
    filename: file.name.slice(-255),
    content_type: file.type || 'application/octet-stream',
    file_size_bytes: file.size,
    profile,
  });
  localStorage.setItem(memory(file), started.upload_id);
  return { ...started, parts: [] };
}

async function sendPart(uploadId, number, bytes, signal, onSent) {
  return again(async () => {
    const signed = await call('POST', `/v1/uploads/${uploadId}/parts/presign`,
      { part_number: number, content_length: bytes.size }, signal);
    return put(signed.presigned_url, signed.headers, bytes, signal, onSent);
  }, signal);
}

// XMLHttpRequest, not fetch: only it tells how many bytes have gone out.
function put(url, headers, bytes, signal, onSent) {
  return new Promise((done, fail) => {
    const request = new XMLHttpRequest();
    const stop = () => request.abort();
    request.open('PUT', url);
    for (const [name, value] of Object.entries(headers)) {
      if (name.toLowerCase() !== 'content-length') request.setRequestHeader(name, value); // the browser sets the length
    }
    request.upload.onprogress = (event) => onSent(event.loaded);
    request.onload = () => {
      const etag = request.getResponseHeader('ETag');
      if (request.status < 300 && etag) return done(etag);
      let document = {};
      try { document = JSON.parse(request.responseText); } catch { /* storage answered something else than a problem */ }
      return fail(new Problem(request.status === 403 ? 503 : request.status, document)); // 403: expired; a fresh URL helps
    };
    request.onerror = () => fail(new Problem(503, { title: 'The connection was lost.' }));
    request.onabort = () => fail(new DOMException('stopped', 'AbortError'));
    request.onloadend = () => signal?.removeEventListener('abort', stop);
    signal?.addEventListener('abort', stop);
    request.send(bytes);
  });
}

async function again(attempt, signal) {
  for (let tried = 1; ; tried += 1) {
    try {
      return await attempt();
    } catch (error) {
      const lost = error instanceof TypeError || (error instanceof Problem && error.retryable);
      if (!lost || tried === TRIES || signal?.aborted) throw error;
      await new Promise((done) => setTimeout(done, 500 * 2 ** tried * (0.5 + Math.random())));
    }
  }
}
