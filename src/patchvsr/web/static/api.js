// Requests to the service. Its refusals are one line, which is shown as it is.

export class Refusal extends Error {
  constructor(status, message) { super(message); this.status = status; }
}

export async function ask(method, path, body) {
  const isBytes = body instanceof Blob;
  const response = await fetch(`/api${path}`, {
    method,
    headers: body === undefined || isBytes ? {} : { "content-type": "application/json" },
    body: body === undefined || isBytes ? body : JSON.stringify(body),
  });
  return read(response);
}

export async function read(response) {
  if (response.status === 204) return null;
  const found = await response.json().catch(() => ({}));
  if (!response.ok) throw new Refusal(response.status, found.detail ?? `the service answers ${response.status}`);
  return found;
}

// Calls `tell` for every event after number `last`. The browser connects again by itself, from the last event on.
export function follow(last, tell, connected) {
  const source = new EventSource(`/api/events?after=${last}`);
  source.onopen = () => connected(true);
  source.onerror = () => connected(false);
  source.onmessage = (message) => tell(JSON.parse(message.data));
  return source;
}
