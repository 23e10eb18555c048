// COCO run lengths: column-major, zeros first, compressed to text as by pycocotools.
// A mask is a list of run lengths, or a window of pixels with its position.

/** Builds run lengths, area and bounding box column by column. */
export class Runs {
  constructor([height, width]) {
    Object.assign(this, { height, width, runs: [], filled: 0, area: 0, low: [Infinity, Infinity], high: [-1, -1] });
  }

  /** Add column x, starting at row `top`; values above `level` belong to the mask. */
  column(values, x, top, level = 0) {
    const n = values.length;
    for (let y = 0; y < n; y++) {
      if (!(values[y] > level)) continue;
      const start = y;
      while (y < n && values[y] > level) y++;
      this.add(x * this.height + top + start, y - start);
      if (top + start < this.low[1]) this.low[1] = top + start;
      if (top + y - 1 > this.high[1]) this.high[1] = top + y - 1;
      if (x < this.low[0]) this.low[0] = x;
      this.high[0] = x;
    }
  }

  add(from, length) {
    const { runs } = this;
    if (runs.length && from === this.filled) runs[runs.length - 1] += length;
    else runs.push(from - this.filled, length);
    this.filled = from + length;
    this.area += length;
  }

  /** [x, y, width, height] */
  box() {
    const [x0, y0] = this.low, [x1, y1] = this.high;
    return this.area ? [x0, y0, x1 - x0 + 1, y1 - y0 + 1] : [0, 0, 0, 0];
  }

  /** The run lengths, filled up to the size of the photo. */
  whole() {
    const runs = [...this.runs], rest = this.height * this.width - this.filled;
    if (rest || !runs.length) runs.push(rest);
    return runs;
  }

  /** {rle, area, bbox} */
  done() {
    return { rle: { size: [this.height, this.width], counts: toText(this.whole()) }, area: this.area, bbox: this.box() };
  }
}

/** Run lengths -> COCO's text: differences from the run before last, in groups of five bits. */
export function toText(runs) {
  let text = "";
  runs.forEach((run, i) => {
    let x = i > 2 ? run - runs[i - 2] : run;
    for (;;) {
      const bits = x & 31;
      x >>= 5;
      const last = bits & 16 ? x === -1 : x === 0;
      text += String.fromCharCode(48 + (last ? bits : bits | 32));
      if (last) break;
    }
  });
  return text;
}

/** COCO's text or a list of run lengths -> run lengths; null if they are not valid for the size. */
export function toRuns(counts, [height, width]) {
  let runs = counts;
  if (typeof counts === "string") {
    runs = [];
    for (let i = 0; i < counts.length;) {
      let x = 0, shift = 0, bits;
      do {
        bits = counts.charCodeAt(i++) - 48;
        if (!(bits >= 0 && bits < 64) || shift > 30) return null;
        x |= (bits & 31) << shift;
        shift += 5;
      } while (bits & 32);
      if (bits & 16 && shift < 32) x |= -1 << shift;
      runs.push(runs.length > 2 ? x + runs[runs.length - 2] : x);
    }
  }
  if (!Array.isArray(runs) || !runs.every((run) => Number.isInteger(run) && run >= 0)) return null;
  return runs.reduce((a, b) => a + b, 0) === height * width ? runs : null;
}

/** Run lengths -> the runs of ones in each column, [x, from, to], in order. */
export function columnsOf(runs, [height]) {
  const columns = [];
  let at = 0;
  runs.forEach((run, i) => {
    for (let from = at, end = i % 2 ? at + run : at; from < end;) {
      const x = Math.trunc(from / height), y = from - x * height, length = Math.min(end - from, height - y);
      columns.push([x, y, y + length]);
      from += length;
    }
    at += run;
  });
  return columns;
}

/** Inverse of `columnsOf`. */
export function runsOf(columns, size) {
  const runs = new Runs(size);
  for (const [x, from, to] of columns) runs.add(x * size[0] + from, to - from);
  return runs.whole();
}

/** Run lengths -> {rle, area, bbox} */
export function factsOfRuns(runs, size) {
  const low = [Infinity, Infinity], high = [-1, -1];
  let area = 0;
  for (const [x, from, to] of columnsOf(runs, size)) {
    area += to - from;
    [low[0], low[1], high[0], high[1]] = [Math.min(low[0], x), Math.min(low[1], from), x, Math.max(high[1], to - 1)];
  }
  const bbox = area ? [low[0], low[1], high[0] - low[0] + 1, high[1] - low[1] + 1] : [0, 0, 0, 0];
  return { rle: { size: [...size], counts: toText(runs) }, area, bbox };
}

/** Run lengths -> {top, left, height, width, pixels: Uint8Array of height * width, row-major}; null for an empty mask. */
export function windowOf(runs, [height]) {
  let at = 0, left = Infinity, right = -1, top = height, bottom = -1;
  const parts = []; // [x, y, length] within columns
  runs.forEach((run, i) => {
    for (let from = at, n = i % 2 ? run : 0; n > 0;) {
      const x = Math.trunc(from / height), y = from - x * height, length = Math.min(n, height - y);
      parts.push([x, y, length]);
      left = Math.min(left, x);
      right = x;
      top = Math.min(top, y);
      bottom = Math.max(bottom, y + length - 1);
      from += length;
      n -= length;
    }
    at += run;
  });
  if (right < 0) return null;
  const width = right - left + 1, pixels = new Uint8Array((bottom - top + 1) * width);
  for (const [x, y, length] of parts) for (let i = (y - top) * width + x - left, n = length; n > 0; n--, i += width) pixels[i] = 1;
  return { top, left, height: bottom - top + 1, width, pixels };
}

/** A window of pixels -> {rle, area, bbox} at the photo's size. */
export function factsOfWindow({ top, left, height, width, pixels }, size) {
  const runs = new Runs(size), column = new Uint8Array(height);
  for (let x = 0; x < width; x++) {
    for (let y = 0, i = x; y < height; y++, i += width) column[y] = pixels[i];
    runs.column(column, left + x, top);
  }
  return runs.done();
}
