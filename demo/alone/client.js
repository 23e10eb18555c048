// The interface of `../page/compute.js`, implemented by calls to the worker.
import { Failure } from "../page/failure.js";

const worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
const open = new Map(); // call number -> {resolve, reject, onEvent}
let count = 0;

worker.onmessage = ({ data: { n, event, done, failed } }) => {
  const call = open.get(n);
  if (!call) return;
  if (event) return call.onEvent?.(event);
  open.delete(n);
  if (failed) call.reject(new Failure(failed.status, failed.text));
  else call.resolve(done);
};
worker.onerror = () => {
  for (const { reject } of open.values()) reject(new Failure(0, "the page did not load completely; reload it"));
  open.clear();
};

function ask(call, args, onEvent, signal) {
  return new Promise((resolve, reject) => {
    const n = ++count;
    open.set(n, { resolve, reject, onEvent });
    if (signal?.aborted) return reject(new DOMException("stopped", "AbortError"));
    signal?.addEventListener("abort", () => {
      if (!open.delete(n)) return;
      worker.postMessage({ stop: n });
      reject(new DOMException("stopped", "AbortError"));
    });
    worker.postMessage({ n, call, args });
  });
}

export const local = {
  about: () => ask("about", []),
  encode: (blob, model, onEvent, signal) => ask("encode", [blob, model], onEvent, signal),
  encodeAgain: (id, model, onEvent, signal) => ask("encodeAgain", [id, model], onEvent, signal),
  bitmap: async () => {
    throw new Failure(400, "this browser cannot read that photo");
  },
  preview: (id, prompt) => ask("preview", [id, prompt]),
  segment: (id, prompt, onEvent, signal) => ask("segment", [id, prompt], onEvent, signal),
  everything: (id, preset, tidy, onEvent, signal) => ask("everything", [id, preset, tidy], onEvent, signal),
  importFile: (id, text) => ask("importFile", [id, text]),
  exportFile: (id, fileName, objects, formats) => ask("exportFile", [id, fileName, objects, formats]),
};
