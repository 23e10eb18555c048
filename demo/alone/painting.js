// Brush strokes -> a rough mask -> a box or mask prompt.
import { resizedSize } from "./prepare.js";

const PAINTED = 512; // long side at which strokes are rasterised
const CONFIDENCE = 10; // logit of fully painted pixels

/** {height, width, pixels} with the photo's aspect ratio, or null if nothing is painted. */
export function paint(strokes, size) {
  const scale = PAINTED / Math.max(...size), [height, width] = size.map((side) => Math.max(1, Math.round(side * scale)));
  const pixels = new Uint8Array(height * width);
  for (const { points, radius, erase } of strokes) {
    const track = points.map(([x, y]) => [x * scale, y * scale]), thick = Math.max(0.5, radius * scale);
    track.forEach((to, i) => segment(track[Math.max(0, i - 1)], to, thick, erase ? 0 : 1));
  }
  return pixels.some(Boolean) ? { height, width, pixels } : null;

  /** Set the pixels within the radius of a line segment. */
  function segment([ax, ay], [bx, by], r, value) {
    const dx = bx - ax, dy = by - ay, square = dx * dx + dy * dy;
    const [left, right, top, bottom] = [Math.min(ax, bx) - r, Math.max(ax, bx) + r, Math.min(ay, by) - r, Math.max(ay, by) + r];
    for (let y = Math.max(0, Math.floor(top)); y <= Math.min(height - 1, bottom); y++) {
      for (let x = Math.max(0, Math.floor(left)); x <= Math.min(width - 1, right); x++) {
        const along = square ? Math.min(1, Math.max(0, ((x - ax) * dx + (y - ay) * dy) / square)) : 0;
        if ((x - ax - along * dx) ** 2 + (y - ay - along * dy) ** 2 <= r * r) pixels[y * width + x] = value;
      }
    }
  }
}

/** The bounding box of the painted pixels, in pixels of the photo. */
export function boxOf({ height, width, pixels }, size) {
  const scale = size[1] / width;
  let [x0, y0, x1, y1] = [width, height, -1, -1];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if (!pixels[y * width + x]) continue;
      x0 = Math.min(x0, x);
      x1 = Math.max(x1, x);
      y0 = Math.min(y0, y);
      y1 = y;
    }
  }
  return [x0, y0, Math.min(size[1] / scale, x1 + 1), Math.min(size[0] / scale, y1 + 1)].map((v) => v * scale);
}

/** Low-res logits from the painted share of each pixel: Float32Array of side * side. */
export function maskPrompt({ height, width, pixels }, side) {
  const [h, w] = resizedSize([height, width], side), out = new Float32Array(side * side).fill(-CONFIDENCE);
  const across = shares(width, w), down = shares(height, h);
  for (let y = 0; y < h; y++) {
    for (let x = 0; x < w; x++) {
      let cover = 0;
      for (const [i, a] of down[y]) for (const [j, b] of across[x]) cover += a * b * pixels[i * width + j];
      out[y * side + x] = (2 * cover - 1) * CONFIDENCE;
    }
  }
  return out;
}

/** For area resampling along one axis: [input, share of the output] pairs of each of `to` outputs. */
function shares(from, to) {
  const scale = from / to;
  return Array.from({ length: to }, (_, i) => {
    const [start, stop] = [i * scale, Math.min(from, (i + 1) * scale)], found = [];
    for (let k = Math.floor(start); k < stop - 1e-9; k++) found.push([k, (Math.min(stop, k + 1) - Math.max(start, k)) / scale]);
    return found;
  });
}
