// Opens a model with a mock of onnxruntime-web and a GPU that fails as CASE says: node gpu_fallback.mjs CASE
// The last line of output is the opened model, as JSON.
const [how] = process.argv.slice(2);
const SIDE = 16, LOW = 4, FEATURES = how === "without fp16" ? [] : ["shader-f16"];

class Tensor {
  constructor(type, data, dims) {
    Object.assign(this, { type, data, dims });
  }
}

/** The bad logits of each case. */
const LOGITS = {
  "empty masks": () => new Float32Array(3 * LOW * LOW),
  "not a number": () => new Float32Array(3 * LOW * LOW).fill(NaN),
};
const good = () => Float32Array.from({ length: 3 * LOW * LOW }, (_, i) => (i % 7) - 3);
const released = [];

class Session {
  constructor(provider, decoder) {
    Object.assign(this, { provider, decoder });
    this.inputNames = decoder ? ["image_embeddings", "finer", "input_points", "input_labels"] : ["pixel_values"];
    this.outputNames = decoder ? ["iou_scores", "pred_masks"] : ["image_embeddings", "finer"];
  }

  static async create(data, { executionProviders: [provider] }) {
    if (provider === "webgpu" && how === "does not load") throw new Error("no such kernel");
    return new Session(provider, new Uint8Array(data)[0] === 2);
  }

  async run(fed) {
    const missing = this.inputNames.filter((name) => !(name in fed));
    if (missing.length) throw new Error(`${missing} is not fed`);
    if (this.provider === "webgpu" && how === "lost") throw new Error("the device was lost");
    const map = new Tensor("float32", new Float32Array(4), [1, 1, 2, 2]);
    if (!this.decoder) return { image_embeddings: map, finer: map }; // as of `pocket`, whose decoder reads several maps
    const low = this.provider === "webgpu" && LOGITS[how] ? LOGITS[how]() : good();
    const scores = this.provider === "webgpu" && how === "empty masks" ? new Float32Array(3) : Float32Array.of(0.5, 0.9, 0.7);
    return { iou_scores: new Tensor("float32", scores, [1, 1, 3]), pred_masks: new Tensor("float32", low, [1, 1, 3, LOW, LOW]) };
  }

  async release() {
    released.push(this.provider);
  }
}

const RUNTIME = `export const env = { wasm: {} }; export const { InferenceSession, Tensor } = globalThis.standIn;`;
globalThis.standIn = { InferenceSession: Session, Tensor };
Object.defineProperty(globalThis, "navigator", {
  value: { hardwareConcurrency: 2, gpu: { requestAdapter: async () => (how === "no adapter" ? null : { features: new Set(FEATURES) }) } },
});
globalThis.self = globalThis;
const sha256 = async (data) => Buffer.from(await crypto.subtle.digest("SHA-256", data)).toString("hex");
const file = async (first) => ({ file: `data:application/octet-stream;base64,${Buffer.from([first]).toString("base64")}`, bytes: 1, sha256: await sha256(Uint8Array.of(first)) });
const [encoder, decoder] = [await file(1), await file(2)];
const script = { file: `data:text/javascript,${encodeURIComponent(RUNTIME)}` };
const build = { script, module: script, wasm: encoder };
const preparation = { resize_mode: "longest_side", longest: SIDE, frame: SIDE, padded: [SIDE, SIDE], resample: 2, mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5], rescale_factor: 1 / 255 };
const model = { name: "m", preparation, variants: { wasm: { encoder, decoder }, webgpu: { encoder, decoder } } };

const { Models } = await import("../../demo/alone/runtime.js");
const opened = await new Models({ runtime: { wasm: build, webgpu: build }, models: [model] }, () => {}).open("m", () => {});
console.log(JSON.stringify({ device: opened.device, provider: opened.decoder.provider, released }));
