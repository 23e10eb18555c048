// Preprocessing by preprocessor_config.json, with the arithmetic of `sam_hub.ops.preparation`.
import { resize, stretchFloat } from "./resize.js";

/** [height, width] scaled so that the long side is `longest`. */
export function resizedSize([height, width], longest) {
  const scale = longest / Math.max(height, width);
  return [height, width].map((side) => Math.max(1, Math.trunc(side * scale + 0.5)));
}

/** The photo's [height, width] in the frame that prompts and masks use. */
export const sizeInFrame = (how, size) => (how.resize_mode === "longest_side" ? resizedSize(size, how.frame) : [how.frame, how.frame]);

/**
 * {values: Float32Array of 3 * H * W, dims}, or {levels: Uint8Array of h * w * 3, dims} for encoders that normalise inside.
 * rows: see `resize`; size: [height, width] of the photo; how: the preparation in app.json
 */
export function prepare(rows, size, how, asLevels) {
  const photo = { height: size[0], width: size[1] };
  const [h, w] = how.resize_mode === "longest_side" ? resizedSize(size, how.longest) : [how.longest, how.longest];
  const small = how.resize_mode === "stretch_float" ? stretchFloat(rows, photo, how.longest) : resize(rows, photo, w, h, how.resample);
  if (asLevels) return { levels: new Uint8Array(small.buffer), dims: [h, w, 3] };
  const [H, W] = how.padded ?? [h, w], values = new Float32Array(3 * H * W), [mean, std] = statistics(small, how);
  for (let y = 0, i = 0; y < h; y++) {
    for (let x = 0; x < w; x++) {
      for (let c = 0; c < 3; c++) values[(c * H + y) * W + x] = (small[i++] - mean[c]) / std[c];
    }
  }
  return { values, dims: [1, 3, H, W] };
}

/** Mean and standard deviation of each channel, in grey levels. */
function statistics(levels, how) {
  let { mean, std } = how;
  if (how.do_min_max) {
    let low = Infinity, high = -Infinity;
    for (const v of levels) {
      if (v < low) low = v;
      if (v > high) high = v;
    }
    const spread = Math.max(high - low, 1e-8);
    [mean, std] = [[low, low, low], [spread, spread, spread]].map((each) => each.map((v) => v * how.rescale_factor));
  }
  return [mean, std].map((each) => each.map((v) => Math.fround(v / how.rescale_factor)));
}
