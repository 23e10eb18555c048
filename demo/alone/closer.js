// A second look at one object, as in `sam_hub.inference.zoom`: where to look, and how both looks become one mask.
import { pathOfMask, TRACED } from "./outline.js";
import { factsOfRuns, Runs, windowOf } from "./rle.js";
import { tidyRuns } from "./tidying.js";

const AROUND_BOX = 2, AROUND_MASK = 3; // side of the window as a multiple of the object's
const SECOND = 0.6; // weight of the second look
const SMALLEST = 64; // least side of a window, in pixels
const GAIN = 1.25; // least enlargement that is worth another look
const STRIP = 64; // columns computed at once

/**
 * The window [x0, y0, x1, y1] around an object, x1 and y1 exclusive, or null if it is not found or already large.
 * size: [height, width] of the photo; extent: of the first look's mask, likewise [x0, y0, x1, y1], or null
 * clicks: {points: [[x, y], ...], labels: [1, 0, ...]}; box: [x0, y0, x1, y1] or null; in pixels of the photo
 */
export function windowAround(size, extent, { points, labels }, box) {
  const limits = [size[1], size[0]], around = box ? box.map((v, i) => Math.min(limits[i % 2], Math.max(0, v))) : extent;
  if (!around) return null;
  const corners = [around.slice(0, 2), around.slice(2), ...points.filter((_, i) => labels[i] === 1)];
  const [low, high] = [Math.min, Math.max].map((end) => [0, 1].map((axis) => end(...corners.map((at) => at[axis]))));
  const side = Math.max(Math.max(high[0] - low[0], high[1] - low[1]) * (box ? AROUND_BOX : AROUND_MASK), SMALLEST);
  const start = [0, 1].map((axis) => Math.floor(Math.max((low[axis] + high[axis] - side) / 2, 0)));
  const end = [0, 1].map((axis) => Math.min(Math.ceil((low[axis] + high[axis] + side) / 2), limits[axis]));
  const sides = [0, 1].map((axis) => end[axis] - start[axis]);
  return Math.min(...sides) < 1 || Math.max(...sides) * GAIN > Math.max(...size) ? null : [...start, ...end];
}

/** The prompt in pixels of the window, {points, labels}, corners of the box last; clicks outside it are left out. */
export function inside([x0, y0, x1, y1], { points, labels }, box) {
  const within = points.map(([x, y]) => x >= x0 && x <= x1 && y >= y0 && y <= y1);
  const corners = box ? [[box[0], box[1]], [box[2], box[3]]] : [];
  return { points: [...points.filter((_, i) => within[i]), ...corners].map(([x, y]) => [x - x0, y - y0]),
    labels: [...labels.filter((_, i) => within[i]), ...(box ? [2, 3] : [])] };
}

/** The masks of one look, best first: {scores: [m], logits: [Float32Array, ...]}. scores, low: see `Model.decode` */
export function inOrder(scores, low, side) {
  const area = side * side, order = Array.from(scores, (_, i) => i).sort((a, b) => scores[b] - scores[a] || a - b);
  return { scores: order.map((i) => scores[i]), logits: order.map((i) => low.slice(i * area, (i + 1) * area)) };
}

export const meanScore = (first, second) => first + SECOND * (second - first);

/** The extent [x0, y0, x1, y1] of the mask of low-res logits, x1 and y1 exclusive; null if it is empty. */
export function extentOf(logits, exact) {
  const runs = new Runs(exact.size), window = exact.window(logits, 0);
  if (window) exact.eachColumn(logits, window, (column, x) => runs.column(column, x, window.top));
  const [x, y, w, h] = runs.box();
  return runs.area ? [x, y, x + w, y + h] : null;
}

/**
 * The shape {rle, area, bbox, path} of both looks' mask: their mean in the window, and the first outside it.
 * low: low-res logits of the photo, exact: their `Enlarger`; near, inner: those of the window; how: see `tidyColumns`
 */
export function shapeOfBoth(low, exact, near, inner, [x0, y0, x1, y1], how) {
  const { size } = exact, first = exact.window(low, 0) ?? { top: y0, left: x0, height: 0, width: 0 };
  const top = Math.min(first.top, y0), left = Math.min(first.left, x0);
  const height = Math.max(first.top + first.height, y1) - top, width = Math.max(first.left + first.width, x1) - left;
  const columns = new Uint8Array(height * width); // column after column
  if (first.width) {
    exact.eachColumn(low, first, (column, x) => {
      for (let y = 0, i = (x - left) * height + first.top - top; y < column.length; y++) columns[i + y] = column[y] > 0 ? 1 : 0;
    });
  }
  for (let x = x0; x < x1; x += STRIP) {
    const n = Math.min(STRIP, x1 - x), rows = y1 - y0;
    const far = exact.values(low, { top: y0, left: x, height: rows, width: n }), close = inner.values(near, { top: 0, left: x - x0, height: rows, width: n });
    for (let c = 0; c < n; c++) {
      for (let y = 0, at = (x + c - left) * height + y0 - top, i = c; y < rows; y++, i += n) columns[at + y] = far[i] + SECOND * (close[i] - far[i]) > 0 ? 1 : 0;
    }
  }
  const runs = new Runs(size);
  for (let x = 0; x < width; x++) runs.column(columns.subarray(x * height, (x + 1) * height), left + x, top);
  const whole = tidyRuns(runs.whole(), size, how), facts = factsOfRuns(whole, size), mask = windowOf(whole, size);
  const scale = mask ? TRACED / Math.max(mask.height, mask.width) : 1; // a small mask is traced at the photo's size
  return { ...facts, path: mask ? pathOfMask(mask, size, Math.max(...size) * scale) : "" };
}
