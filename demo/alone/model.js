// An encoder and a decoder in onnxruntime-web, laid out as for transformers.js. Encoder outputs go to the decoder inputs of
// the same name, so any number of feature maps works.
import { prepare, sizeInFrame } from "./prepare.js";

const PROMPT = new Set(["input_points", "input_labels", "input_boxes", "mask_input", "has_mask_input"]);

export class Model {
  /** facts: the model's entry in app.json; encoder, decoder: sessions; device: for display */
  constructor(ort, facts, encoder, decoder, device) {
    Object.assign(this, { ort, facts, encoder, decoder, device });
    this.how = facts.preparation;
    this.shared = decoder.inputNames.filter((name) => encoder.outputNames.includes(name));
    const missing = decoder.inputNames.filter((name) => !this.shared.includes(name) && !PROMPT.has(name));
    if (missing.length) throw new Error(`the decoder needs ${missing.join(", ")}, which the encoder does not give`);
    this.takesMasks = decoder.inputNames.includes("mask_input");
    this.hasSingle = decoder.outputNames.includes("single_pred_mask");
  }

  async release() {
    await this.encoder.release();
    await this.decoder.release();
  }

  /** The encoder outputs that the decoder takes. rows: see `resize`; size: [height, width] */
  async encode(rows, size) {
    const name = this.encoder.inputNames[0], { values, levels, dims } = prepare(rows, size, this.how, name === "image");
    const found = await this.encoder.run({ [name]: levels ? new this.ort.Tensor("uint8", levels, dims) : new this.ort.Tensor("float32", values, dims) });
    return Object.fromEntries(this.shared.map((each) => [each, found[each]]));
  }

  /**
   * Masks of n objects, all with the same number of points.
   * points: in pixels of the photo, [[x, y], ...] of each object; labels: 1 object, 0 background, 2 and 3 box corners
   * mask: Float32Array of low-res logits, or null; many: true for the three masks of an ambiguous prompt, false for one
   * returns: {scores: Float32Array (n * m), low: Float32Array (n * m * side * side), m, side}
   */
  async decode(held, size, points, labels, mask, many) {
    const [n, p] = [points.length, points[0].length], frame = sizeInFrame(this.how, size);
    const scale = [frame[1] / size[1], frame[0] / size[0]].map((v) => v * (this.how.longest / this.how.frame)); // to pixels of the model input
    const xy = Float32Array.from(points.flat(1).flatMap(([x, y]) => [x * scale[0], y * scale[1]]));
    const fed = { ...held, input_points: new this.ort.Tensor("float32", xy, [1, n, p, 2]),
      input_labels: new this.ort.Tensor("int64", BigInt64Array.from(labels.flat(), BigInt), [1, n, p]) };
    if (mask && this.takesMasks) {
      const side = Math.sqrt(mask.length);
      fed.mask_input = new this.ort.Tensor("float32", mask, [1, 1, side, side]);
      fed.has_mask_input = new this.ort.Tensor("float32", Float32Array.of(1), [1]);
    } else if (this.takesMasks) { // the blank mask; some runtimes require every input
      const side = this.facts.low_res;
      fed.mask_input = new this.ort.Tensor("float32", (this.blank ??= new Float32Array(side * side)), [1, 1, side, side]);
      fed.has_mask_input = new this.ort.Tensor("float32", Float32Array.of(0), [1]);
    }
    const single = !many && this.hasSingle, wanted = single ? ["single_iou_score", "single_pred_mask"] : ["iou_scores", "pred_masks"];
    const inputs = Object.fromEntries(Object.entries(fed).filter(([name]) => this.decoder.inputNames.includes(name)));
    const found = await this.decoder.run(inputs, wanted), [scores, low] = wanted.map((name) => found[name]);
    const result = { scores: scores.data, low: low.data, m: low.dims[2], side: low.dims[4] };
    return many || result.m === 1 ? result : best(result, n);
  }
}

/** The highest-scoring mask of each object, for decoders without a single-mask output. */
function best({ scores, low, m, side }, n) {
  const area = side * side, found = { scores: new Float32Array(n), low: new Float32Array(n * area), m: 1, side };
  for (let i = 0; i < n; i++) {
    const own = [...scores.subarray(i * m, (i + 1) * m)], k = own.indexOf(Math.max(...own));
    found.scores[i] = own[k];
    found.low.set(low.subarray((i * m + k) * area, (i * m + k + 1) * area), i * area);
  }
  return found;
}
