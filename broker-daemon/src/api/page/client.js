// What the page asks the broker: with the token of the link, or user name and password.
const KEY = "authorization";

export class NotAllowed extends Error {}

export function takeToken() {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (!token) return;
  sessionStorage.setItem(KEY, `Bearer ${token}`);
  // Out of the address, so that nobody shares it with a screenshot.
  history.replaceState(null, "", location.pathname);
}

export function logIn(user, password) {
  const bytes = new TextEncoder().encode(`${user}:${password}`);
  sessionStorage.setItem(KEY, `Basic ${btoa(String.fromCharCode(...bytes))}`);
}

export async function ask(path, options = {}) {
  const headers = { ...options.headers };
  const authorization = sessionStorage.getItem(KEY);
  if (authorization) headers.authorization = authorization;
  const response = await fetch(path, { ...options, headers, cache: "no-store" });
  if (response.ok) return response;
  const problem = await response.json().catch(() => ({}));
  const text = problem.detail ?? `${response.status}`;
  throw response.status === 401 ? new NotAllowed(text) : new Error(text);
}

export const json = async (path) => (await ask(path)).json();

// Server-sent events, with the header that EventSource cannot send. `event` is called with the name and data of each.
export async function stream(path, signal, opened, event) {
  const response = await ask(path, { signal });
  opened();
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    for (const part of parts) {
      let [name, data] = ["message", ""];
      for (const line of part.split("\n")) {
        if (line.startsWith("event: ")) name = line.slice(7);
        else if (line.startsWith("data: ")) data += line.slice(6);
      }
      if (data) event(name, data);
    }
  }
}
