// Requests to the service. Its refusals are one line, which is shown as it is.

const AGAIN_AFTER_MS = 2000;

export class Refusal extends Error {
  constructor(status, message) { super(message); this.status = status; }
}

export async function ask(method, path, body) {
  const isBytes = body instanceof Blob;
  const response = await fetch(`/api${path}`, {
    method,
    headers: body === undefined || isBytes ? {} : { "content-type": "application/json" },
    body: body === undefined || isBytes ? body : JSON.stringify(body),
  }).catch(() => { throw new Error("the service does not answer: try again when it is back"); });
  return read(response);
}

export async function read(response) {
  if (response.status === 204) return null;
  const found = await response.json().catch(() => null);
  if (!response.ok) throw new Refusal(response.status, found?.detail ?? `the service answers ${response.status}`);
  if (found === null) throw new Error("the answer of the service was cut off: try again"); // it was killed on the way
  return found;
}

// Calls `tell` for every event after number `last`, while the page is visible: a browser has six connections to a service,
// which hidden tabs would use up. It connects again by itself, but not after an answer such as a proxy's 502.
export function follow(last, tell, connected) {
  let source = null, timer = 0;
  function close() {
    clearTimeout(timer);
    source?.close();
    source = null;
  }
  function open() {
    close();
    if (document.hidden) return;
    source = new EventSource(`/api/events?after=${last}`);
    source.onopen = () => connected(true);
    source.onerror = () => {
      connected(false);
      if (source.readyState === EventSource.CLOSED) timer = setTimeout(open, AGAIN_AFTER_MS);
    };
    source.onmessage = (message) => {
      last = message.lastEventId;
      tell(JSON.parse(message.data));
    };
  }
  document.addEventListener("visibilitychange", open);
  open();
}
