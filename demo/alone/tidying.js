// Removes specks and pinholes as `sam_hub.ops.tidying` does, on column runs instead of pixels: the time is proportional to
// the length of the outlines.
import { columnsOf, runsOf } from "./rle.js";

/**
 * Drop components (8-connected) and fill holes (4-connected) that are smaller than a share of the mask's area. Kept are
 * the largest component, components with a foreground click and holes with a background click.
 * columns: sorted runs [x, from, to] of the mask; size: [height, width] of the photo
 * how: {share, points: [[x, y], ...], labels: [1, 0, ...]}, in pixels of the mask
 * returns: the runs of the tidied mask; the same array if nothing changed
 */
export function tidyColumns(columns, size, { share, points = [], labels = [] }) {
  const area = columns.reduce((sum, [, from, to]) => sum + to - from, 0);
  if (!area || !share) return columns;
  const [height, width] = size, clicks = points.map(([x, y], i) => [inside(x, width), inside(y, height), labels[i] ?? 1]);
  const parts = components(columns, 1), largest = parts.sizes.reduce((best, count, i) => (count > parts.sizes[best] ? i : best), 0);
  const stays = parts.sizes.map((count, i) => count >= share * area || i === largest);
  for (const [x, y, label] of clicks) {
    const at = label === 1 ? runAt(columns, x, y) : -1;
    if (at >= 0) stays[parts.numbers[at]] = true;
  }
  const kept = columns.filter((_, i) => stays[parts.numbers[i]]), gaps = gapsOf(kept, height), holes = components(gaps, 0);
  const [left, right] = [kept[0][0], kept.at(-1)[0]], fills = holes.sizes.map((count) => count < share * area);
  gaps.forEach(([x, from, to], i) => { // what reaches the border of the photo or of the mask is not a hole
    if (from === 0 || to === height || x === left || x === right) fills[holes.numbers[i]] = false;
  });
  for (const [x, y, label] of clicks) {
    const at = label === 0 ? runAt(gaps, x, y) : -1;
    if (at >= 0) fills[holes.numbers[at]] = false;
  }
  const filled = gaps.filter((_, i) => fills[holes.numbers[i]]);
  if (kept.length === columns.length && !filled.length) return columns;
  return [...kept, ...filled].sort((a, b) => a[0] - b[0] || a[1] - b[1]);
}

/** Tidy COCO run lengths; returns the same array if nothing changed. */
export function tidyRuns(runs, size, how) {
  const columns = columnsOf(runs, size), tidied = tidyColumns(columns, size, how);
  return tidied === columns ? runs : runsOf(tidied, size);
}

/** Tidy a window of logits in place. window: {top, left, height, width}; size: [height, width] */
export function tidyValues(values, { top, left, height, width }, size, how) {
  const columns = [];
  for (let x = 0; x < width; x++) {
    for (let y = 0; y < height; y++) {
      if (!(values[y * width + x] > 0)) continue;
      const from = y;
      while (y < height && values[y * width + x] > 0) y++;
      columns.push([left + x, top + from, top + y]);
    }
  }
  const tidied = tidyColumns(columns, size, how);
  if (tidied === columns) return;
  const within = new Uint8Array(height * width);
  for (const [x, from, to] of tidied) for (let y = from; y < to; y++) within[(y - top) * width + x - left] = 1;
  for (let i = 0; i < within.length; i++) {
    const away = Math.abs(values[i]);
    values[i] = within[i] ? Math.max(away, 1e-6) : -away;
  }
}

const inside = (at, side) => Math.min(side - 1, Math.max(0, Math.trunc(at)));

/** Component of each run, and component areas; reach: 1 for 8-connectivity, 0 for 4-connectivity */
function components(columns, reach) {
  const parents = Int32Array.from(columns, (_, i) => i);
  const root = (i) => {
    while (parents[i] !== i) i = parents[i] = parents[parents[i]];
    return i;
  };
  let before = 0; // first run of the previous column that may touch
  columns.forEach(([x, from, to], i) => {
    while (before < i && (columns[before][0] < x - 1 || (columns[before][0] === x - 1 && columns[before][2] + reach <= from))) before++;
    for (let j = before; j < i && columns[j][0] === x - 1 && columns[j][1] < to + reach; j++) {
      if (columns[j][2] + reach > from) parents[root(i)] = root(j);
    }
  });
  const known = new Map(), numbers = new Int32Array(columns.length), sizes = [];
  columns.forEach(([, from, to], i) => {
    const top = root(i);
    if (!known.has(top)) known.set(top, sizes.push(0) - 1);
    numbers[i] = known.get(top);
    sizes[numbers[i]] += to - from;
  });
  return { numbers, sizes };
}

/** The background runs of each column from the first to the last. */
function gapsOf(columns, height) {
  const gaps = [], last = columns.at(-1)[0];
  for (let i = 0, x = columns[0][0]; x <= last; x++) {
    let at = 0;
    for (; i < columns.length && columns[i][0] === x; i++) {
      if (columns[i][1] > at) gaps.push([x, at, columns[i][1]]);
      at = columns[i][2];
    }
    if (at < height) gaps.push([x, at, height]);
  }
  return gaps;
}

/** Index of the run that contains a pixel, or -1. */
function runAt(columns, x, y) {
  let low = 0, high = columns.length - 1;
  while (low <= high) {
    const middle = (low + high) >> 1, [column, from, to] = columns[middle];
    if (column < x || (column === x && to <= y)) low = middle + 1;
    else if (column > x || from > y) high = middle - 1;
    else return middle;
  }
  return -1;
}
