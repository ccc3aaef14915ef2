// Requests to this service and to no other host. Never keeps an answer, and never stores the key.

export class Problem extends Error {
  constructor(body) {
    super(body.detail ?? body.title);
    this.body = body;
  }
}

async function ask(path, options = {}) {
  const key = document.getElementById("key").value.trim();
  const headers = { ...(options.headers ?? {}), ...(key ? { authorization: `Bearer ${key}` } : {}) };
  let answer;
  try {
    answer = await fetch(path, { ...options, headers });
  } catch {
    throw new Problem({ title: "No answer", detail: "The service cannot be reached. Is it still running?" });
  }
  const body = await answer.json().catch(() => null);
  if (answer.ok && body) return body;
  throw new Problem(body?.title ? body : { title: `Status ${answer.status}`, detail: "The answer cannot be read." });
}

export function analyze(file) {
  const form = new FormData();
  form.append("files", file, file.name || "picture");
  return ask("/analyze?crops=true", { method: "POST", body: form });
}

export function verify(a, b, space) {
  const body = { embedding_a: a, embedding_b: b, ...(space ? { embedding_space: space } : {}) };
  return ask("/verify", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
}

export const model = () => ask("/model");
