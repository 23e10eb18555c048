// The interface of `compute.js`, implemented by the server. URLs are relative, so that the page works behind any prefix.
import { Failure } from "./failure.js";

export const server = {
  about: () => ask("about"),
  encode: upload,
  encodeAgain: (id, model, onEvent, signal) => follow("again", { id, model }, onEvent, signal),
  bitmap: async (id) => createImageBitmap(await (await send(`photo/${id}`)).blob()),
  preview: (id, prompt) => ask("segment", { id, prompt, preview: true }),
  segment: (id, prompt, onEvent, signal) => follow("segment", { id, prompt }, onEvent, signal),
  everything: (id, preset, tidy, onEvent, signal) => follow("everything", { id, preset, tidy }, onEvent, signal),
  words: (id, text, onEvent, signal) => follow("words", { id, text }, onEvent, signal),
  importFile: (id, document) => ask("import", { id, document }),
  exportFile: (id, file_name, objects, formats) => fetchFile("export", { id, file_name, objects, formats }),
};

async function failure(response) {
  if (response.status === 401) location.reload();
  let text = "the server did not answer as expected; try again";
  try {
    text = (await response.json()).error ?? text;
  } catch {
    // not JSON: keep the text above
  }
  return new Failure(response.status, text);
}

async function send(path, options) {
  try {
    return await fetch(`sam/${path}`, options);
  } catch (e) {
    if (e.name === "AbortError") throw e;
    throw new Failure(0, "the server cannot be reached; check that it is running");
  }
}

const posted = (body, signal) => ({ method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body), signal });

export async function ask(path, body, signal) {
  const response = await send(path, body === undefined ? { signal } : posted(body, signal));
  if (!response.ok) throw await failure(response);
  return response.json();
}

/** POST and pass on the events, one JSON line each; returns the last, throws a failure. */
async function follow(path, body, onEvent, signal) {
  const response = await send(path, posted(body, signal));
  if (!response.ok) throw await failure(response);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  const lines = new Lines(onEvent);
  for (;;) {
    const { value, done } = await reader.read();
    if (done) break;
    lines.add(value);
  }
  return lines.result();
}

/** Send a photo, with XMLHttpRequest because fetch reports no upload progress. */
function upload(file, model, onEvent, signal) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const lines = new Lines(onEvent);
    let taken = 0;
    const read = () => {
      lines.add(request.responseText.slice(taken));
      taken = request.responseText.length;
    };
    request.open("POST", `sam/encode?model=${encodeURIComponent(model)}`);
    request.upload.onprogress = (e) => onEvent({ stage: "sending", done: e.loaded, of: e.total });
    request.onprogress = () => request.status === 200 && read();
    request.onerror = () => reject(new Failure(0, "the server cannot be reached; check that it is running"));
    request.onabort = () => reject(new DOMException("stopped", "AbortError"));
    request.onload = async () => {
      if (request.status !== 200) return reject(await failure(new Response(request.responseText, { status: request.status })));
      try {
        read();
        resolve(lines.result());
      } catch (e) {
        reject(e);
      }
    };
    signal?.addEventListener("abort", () => request.abort());
    request.send(file);
  });
}

class Lines {
  constructor(onEvent) {
    this.onEvent = onEvent;
    this.rest = "";
    this.last = null;
  }

  add(text) {
    const parts = (this.rest + text).split("\n");
    this.rest = parts.pop();
    for (const part of parts) {
      if (!part) continue;
      this.last = JSON.parse(part);
      this.onEvent(this.last);
    }
  }

  result() {
    if (this.last?.stage === "failed") throw new Failure(this.last.status, this.last.error);
    if (this.last?.stage !== "done") throw new Failure(0, "the connection was cut; try again");
    return this.last;
  }
}

/** POST and receive a file: {name, content}. */
async function fetchFile(path, body) {
  const response = await send(path, posted(body));
  if (!response.ok) throw await failure(response);
  const name = /filename\*=UTF-8''([^;]+)/.exec(response.headers.get("content-disposition") ?? "");
  const content = await response.blob().catch(() => {
    throw new Failure(0, "the download was interrupted; export fewer objects or formats at a time");
  });
  return { name: name ? decodeURIComponent(name[1]) : "masks", content };
}
