// Everything mode: prompts with a grid of points, then filters by score, stability and overlap, as `sam_hub.inference.amg`.
import { drawnSize } from "./outline.js";
import { Runs, toRuns, windowOf } from "./rle.js";
import { outlineOf, shapeOf, shapeOfMask } from "./shapes.js";
import { tidyRuns } from "./tidying.js";

const BATCH = 16; // points per decoder run; other calls are answered between runs
const MEASURED = 1024; // long side at which masks are compared

/**
 * photo: {size, held, model, enlarger(size, side)}; how: the generator's arguments
 * turn(work): queues work on the model; progress(done, of); stopped(): whether the caller has cancelled
 */
export async function search(photo, how, turn, progress, stopped) {
  const { size, model } = photo, n = how.points_per_side, grid = [];
  for (let y = 0; y < n; y++) for (let x = 0; x < n; x++) grid.push([((x + 0.5) / n) * size[1], ((y + 0.5) / n) * size[0]]);
  const measuredSize = drawnSize(size, MEASURED);
  let candidates = [], measured = null;
  for (let start = 0; start < grid.length && !stopped(); start += BATCH) {
    const clicks = grid.slice(start, start + BATCH);
    const { scores, low, m, side } = await turn(() => model.decode(photo.held, size, clicks.map((at) => [at]), clicks.map(() => [1]), null, true));
    measured ??= photo.enlarger(measuredSize, side);
    const area = side * side;
    for (let i = 0; i < clicks.length * m; i++) {
      if (!(scores[i] > how.pred_iou_thresh)) continue;
      const logits = low.slice(i * area, (i + 1) * area), found = measure(logits, measured, how);
      if (found) candidates.push({ ...found, logits, score: scores[i], point: clicks[Math.trunc(i / m)] });
    }
    progress(Math.min(grid.length, start + BATCH), grid.length);
  }
  candidates.sort((a, b) => b.score - a.score);
  const pixels = measuredSize[0] * measuredSize[1], kept = [];
  for (const each of candidates) {
    if (each.area > how.max_mask_area_ratio * pixels) continue;
    if (!kept.some((other) => overlap(other.box, each.box) > how.box_nms_thresh)) kept.push(each);
  }
  candidates = [];
  const shaped = [];
  for (const each of kept) {
    if (stopped()) return [];
    shaped.push(await turn(() => finalShape(each, photo, how)));
  }
  const alike = nms(shaped, Math.max(how.box_nms_thresh, how.crop_nms_thresh)).filter((each) => each.area >= how.min_mask_area);
  return alike.sort((a, b) => b.area - a.area).map(({ score, stability, point, rle, area, bbox, path }) => ({ score, stability, point, rle, area, bbox, path }));
}

/** {stability, area, box} of a mask at the size of comparison, or null if it is empty or unstable. */
function measure(logits, enlarger, how) {
  const offset = how.stability_score_offset, window = enlarger.window(logits, -offset);
  if (!window) return null;
  let inner = 0, outer = 0;
  const runs = new Runs(enlarger.size);
  enlarger.eachColumn(logits, window, (column, x) => {
    for (let y = 0; y < column.length; y++) {
      if (column[y] > offset) inner++;
      if (column[y] > -offset) outer++;
    }
    runs.column(column, x, window.top);
  });
  const { area } = runs, [x, y, w, h] = runs.box();
  const stability = outer ? inner / outer : 0;
  return area && stability >= how.stability_score_thresh ? { stability, area, box: [x, y, x + w - 1, y + h - 1] } : null;
}

/** The mask at the size of the photo, tidied, without small holes and islands. */
function finalShape({ logits, score, stability, point }, photo, how) {
  const { size } = photo, side = Math.sqrt(logits.length), exact = photo.enlarger(size, side), drawn = photo.enlarger(drawnSize(size), side);
  const found = shapeOf(logits, exact, drawn, ""), base = { score, stability, point, untouched: true };
  const runs = toRuns(found.rle.counts, size), tidied = how.tidy ? tidyRuns(runs, size, { share: how.tidy, points: [point] }) : runs;
  const mask = windowOf(tidied, size), changed = (mask ? tidy(mask, size, how.min_mask_region_area) : false) || tidied !== runs;
  if (!changed) return { ...base, ...found, path: outlineOf(logits, drawn, size) };
  return { ...base, untouched: false, ...shapeOfMask(mask, size) };
}

/** Fill holes and remove islands smaller than `least` pixels, in place; returns whether anything changed. */
export function tidy(mask, size, least) {
  const holes = flipSmallRegions(mask, size, least, 0);
  return flipSmallRegions(mask, size, least, 1) || holes;
}

function flipSmallRegions({ top, left, height, width, pixels }, size, least, value) {
  const seen = new Uint8Array(height * width), stack = [], regions = [];
  const open = [top > 0, left > 0, top + height < size[0], left + width < size[1]]; // borders of the window that are not borders of the photo
  for (let start = 0; start < pixels.length; start++) {
    if (seen[start] || pixels[start] !== value) continue;
    const region = [];
    let count = 0, large = false;
    stack.push(start);
    seen[start] = 1;
    while (stack.length) {
      const i = stack.pop(), y = Math.trunc(i / width), x = i - y * width;
      if (++count <= least) region.push(i);
      if (!value && ((y === 0 && open[0]) || (x === 0 && open[1]) || (y === height - 1 && open[2]) || (x === width - 1 && open[3]))) large = true;
      for (let v = Math.max(0, y - 1); v <= Math.min(height - 1, y + 1); v++) {
        for (let u = Math.max(0, x - 1); u <= Math.min(width - 1, x + 1); u++) {
          const j = v * width + u;
          if (seen[j] || pixels[j] !== value) continue;
          seen[j] = 1;
          stack.push(j);
        }
      }
    }
    regions.push({ region, count, small: !large && count < least });
  }
  const some = regions.some((r) => r.small);
  if (value && some && regions.every((r) => r.small)) regions.reduce((a, b) => (b.count > a.count ? b : a)).small = false;
  for (const { region, small } of regions) if (small) for (const i of region) pixels[i] = 1 - value;
  return some;
}

/** Box NMS at the IoU threshold `most`; masks that tidying left untouched take precedence. */
function nms(found, most) {
  const kept = [], boxes = [];
  for (const each of [...found.filter((f) => f.untouched), ...found.filter((f) => !f.untouched)]) {
    const [x, y, w, h] = each.bbox, box = [x, y, x + w - 1, y + h - 1];
    if (!each.area || boxes.some((other) => overlap(other, box) > most)) continue;
    kept.push(each);
    boxes.push(box);
  }
  return kept;
}

const areaOf = ([x0, y0, x1, y1]) => (x1 - x0) * (y1 - y0);
function overlap(a, b) {
  const w = Math.min(a[2], b[2]) - Math.max(a[0], b[0]), h = Math.min(a[3], b[3]) - Math.max(a[1], b[1]);
  const both = Math.max(0, w) * Math.max(0, h);
  return both / (areaOf(a) + areaOf(b) - both) || 0;
}
