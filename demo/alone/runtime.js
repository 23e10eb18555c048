// Loads onnxruntime-web and models: fetched with progress, verified by hash, cached for the next visit.
import { Failure } from "../page/failure.js";
import { Model } from "./model.js";

const ROOT = new URL("../", import.meta.url);
const IN_MEMORY = 2; // most models loaded at once
/** disable_quant_qdq: int8 weights are dequantised once at load time instead of in each run, which is faster. */
const OPTIONS = { logSeverityLevel: 3, extra: { session: { disable_quant_qdq: "1" } } };
const STORE = "sam-hub-models";

/** Loads models on demand and keeps the last `IN_MEMORY`. */
export class Models {
  /** dropped(model): called when a model is evicted */
  constructor(facts, dropped) {
    Object.assign(this, { facts, dropped, opened: new Map(), opening: new Map(), watchers: new Set() });
  }

  async open(name, emit) {
    const facts = this.facts.models.find((m) => m.name === name) ?? this.facts.models[0], known = this.opened.get(facts.name);
    if (known) return known;
    if (!this.opening.has(facts.name)) {
      const opening = this.load(facts, (event) => this.watchers.forEach((watch) => watch(event)));
      this.opening.set(facts.name, opening);
      opening.catch(() => {}).finally(() => this.opening.delete(facts.name));
    }
    this.watchers.add(emit);
    try {
      return await this.opening.get(facts.name);
    } finally {
      this.watchers.delete(emit);
    }
  }

  async load(facts, emit) {
    const runtime = await startRuntime(this.facts.runtime, facts, (event) => emit({ stage: "loading", model: facts.name, ...event }));
    const model = (runtime.gpu && (await this.onGpu(runtime.ort, facts, emit))) || (await this.start(runtime.ort, "wasm", facts, emit));
    this.opened.set(facts.name, model);
    for (const [name, old] of this.opened) {
      if (this.opened.size <= IN_MEMORY) break;
      this.opened.delete(name);
      this.dropped(old);
    }
    return model;
  }

  /** The model on the GPU, or null if it fails there or gives no masks: some drivers do so without an error. */
  async onGpu(ort, facts, emit) {
    let model = null;
    try {
      model = await this.start(ort, "webgpu", facts, emit);
      if (await answers(model)) return model;
      console.warn(`${facts.name} gives no masks on this GPU; it runs in WebAssembly instead`);
    } catch (e) {
      console.warn(e);
    }
    await model?.release().catch(console.warn);
    return null;
  }

  /** variant: "webgpu" or "wasm", which is also onnxruntime's name of the provider */
  async start(ort, variant, facts, emit) {
    const files = facts.variants[variant], parts = [files.encoder, files.decoder];
    const whole = parts.reduce((sum, part) => sum + part.bytes, 0), arrived = parts.map(() => 0);
    const bytes = await Promise.all(parts.map((part, i) => fetchChecked(part, (n) => {
      arrived[i] = n;
      const done = arrived.reduce((a, b) => a + b, 0);
      emit({ stage: "loading", model: facts.name, note: `Loading ${facts.name}: ${megabytes(done)} of ${megabytes(whole)} MB`, done, of: whole });
    })));
    emit({ stage: "loading", model: facts.name, note: `Starting ${facts.name}` });
    const sessions = [];
    for (const [i, data] of bytes.entries()) {
      try {
        sessions.push(await ort.InferenceSession.create(data, { ...OPTIONS, executionProviders: [variant] }));
      } catch (e) {
        console.warn(e);
        await forget(parts[i]);
        throw new Failure(502, `the file ${parts[i].file} does not load; reload the page, or choose another model`);
      }
    }
    const device = variant === "webgpu" ? "WebGPU" : `WebAssembly, ${ort.env.wasm.numThreads} thread${ort.env.wasm.numThreads > 1 ? "s" : ""}`;
    return new Model(ort, facts, ...sessions, device);
  }
}

/** Self-test: whether a click on a bright square gives finite scores, not all 0, and logits that are not constant. */
export async function answers(model) {
  const side = 64, size = [side, side], bright = (i) => i >= side / 4 && i < (3 * side) / 4;
  const rows = (top, count) => {
    const pixels = new Uint8ClampedArray(4 * count * side);
    for (let y = 0; y < count; y++) for (let x = 0; x < side; x++) pixels.fill(bright(top + y) && bright(x) ? 230 : 40, 4 * (y * side + x), 4 * (y * side + x + 1));
    return pixels;
  };
  const { scores, low } = await model.decode(await model.encode(rows, size), size, [[[side / 2, side / 2]]], [[1]], null, true);
  const range = low.reduce(([least, most], v) => [Math.min(least, v), Math.max(most, v)], [Infinity, -Infinity]); // Math.min and Math.max propagate NaN
  return scores.every(Number.isFinite) && scores.some(Boolean) && range.every(Number.isFinite) && range[0] < range[1];
}

const megabytes = (bytes) => (bytes / 2 ** 20).toFixed(1);

let started = null;
/** Start onnxruntime-web: {ort, gpu: whether to try the GPU} */
async function startRuntime(files, facts, emit) {
  const gpu = files.webgpu && facts.variants.webgpu && (await hasGpu());
  const part = gpu ? files.webgpu : files.wasm;
  started ??= (async () => {
    const ort = await import(new URL(part.script.file, ROOT));
    ort.env.wasm.numThreads = self.crossOriginIsolated && !gpu ? Math.min(4, navigator.hardwareConcurrency || 1) : 1;
    ort.env.wasm.wasmPaths = { mjs: new URL(part.module.file, ROOT).href, wasm: new URL(part.wasm.file, ROOT).href };
    ort.env.wasm.wasmBinary = await fetchChecked(part.wasm, (done) => emit({ note: `Loading the runtime: ${megabytes(done)} of ${megabytes(part.wasm.bytes)} MB`, done, of: part.wasm.bytes }));
    ort.env.logLevel = "error";
    return ort;
  })();
  started.catch(() => (started = null));
  return { ort: await started, gpu: Boolean(gpu) };
}

/** Whether the GPU computes in fp16; without it, fp16 models give empty masks and no error. */
async function hasGpu() {
  try {
    const adapter = await navigator.gpu?.requestAdapter();
    return Boolean(adapter?.features.has("shader-f16"));
  } catch {
    return false;
  }
}

/** The bytes of {file, bytes, sha256}, from the cache or the network, verified. Throws `Failure`. */
async function fetchChecked({ file, bytes, sha256 }, tell) {
  const url = new URL(file, ROOT), key = keyOf({ file, sha256 }), store = await openStore();
  const kept = await store?.match(key);
  if (kept) {
    const data = await kept.arrayBuffer();
    if (data.byteLength === bytes) {
      tell(bytes);
      return data;
    }
    await store.delete(key);
  }
  let answer;
  try {
    answer = await fetch(url);
  } catch {
    throw new Failure(0, `${file} cannot be reached; check the network and reload the page`);
  }
  if (!answer.ok) throw new Failure(answer.status, `${file} is missing on this page's server (${answer.status}); write the folder again`);
  const data = new Uint8Array(bytes), reader = answer.body.getReader();
  let at = 0, over = false;
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) break;
      over ||= at + value.length > bytes;
      if (!over) data.set(value, at);
      at += value.length;
      tell(Math.min(at, bytes));
    }
  } catch {
    throw new Failure(0, `the connection was lost while ${file} was loading; reload the page`);
  }
  if (at !== bytes) throw new Failure(502, `the file ${file} is incomplete (${at} of ${bytes} bytes); write the folder again, or reload the page`);
  if (crypto.subtle && (await digest(data)) !== sha256) throw new Failure(502, `the file ${file} is damaged; write the folder again, or reload the page`);
  try {
    await store?.put(key, new Response(data, { headers: { "content-type": "application/octet-stream" } }));
    await clearOthers(store, key);
  } catch {
    // storage is full or disabled: the file is fetched again next time
  }
  return data.buffer;
}

/** Whether the model's files are cached. */
export async function isKept(facts) {
  const store = await openStore();
  const { encoder, decoder } = facts.variants.wasm;
  const found = await Promise.all([encoder, decoder].map((part) => store?.match(keyOf(part))));
  return found.every(Boolean);
}

const keyOf = ({ file, sha256 }) => new URL(`${file}?${sha256.slice(0, 16)}`, ROOT).href;
const forget = async (part) => (await openStore())?.delete(keyOf(part));

/** Delete older versions of a cached file. */
async function clearOthers(store, key) {
  for (const { url } of await store.keys()) if (url !== key && url.split("?")[0] === key.split("?")[0]) await store.delete(url);
}

async function openStore() {
  try {
    return await self.caches?.open(STORE);
  } catch {
    return null; // storage is disabled
  }
}

async function digest(data) {
  return Array.from(new Uint8Array(await crypto.subtle.digest("SHA-256", data)), (b) => b.toString(16).padStart(2, "0")).join("");
}
