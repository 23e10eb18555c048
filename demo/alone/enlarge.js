// Upsampling of low-res logits to the photo, as in `sam_hub.inference.upsample`. Along each axis a resize is a banded
// matrix, and only the window that can exceed the threshold is computed.

/** The matrix of `interpolate(mode="bilinear")`: [[input index, weight], ...] of each output. */
function bilinear(from, to) {
  return Array.from({ length: to }, (_, i) => {
    const at = Math.max(0, (i + 0.5) * (from / to) - 0.5), first = Math.min(Math.floor(at), from - 1), share = at - first;
    return [[first, 1 - share], [Math.min(first + 1, from - 1), share]];
  });
}

function bicubic(from, to) {
  const a = -0.75;
  return Array.from({ length: to }, (_, i) => {
    const at = (i + 0.5) * (from / to) - 0.5, first = Math.floor(at);
    return [-1, 0, 1, 2].map((tap) => {
      const x = Math.abs(at - first - tap);
      const weight = x <= 1 ? ((a + 2) * x - (a + 3)) * x * x + 1 : ((a * x - 5 * a) * x + 8 * a) * x - 4 * a;
      return [Math.min(from - 1, Math.max(0, first + tap)), weight];
    });
  });
}

/** The resize along one axis: `first` and `last` input index of each output, and its weights. */
class Axis {
  constructor(low, padded, used, out, how) {
    let rows;
    if (how === "crop") {
      const inner = bilinear(low, padded);
      rows = bilinear(used, out).map((row) => row.flatMap(([i, w]) => inner[i].map(([j, v]) => [j, v * w])));
    } else rows = (how === "bicubic" ? bicubic : bilinear)(low, out);
    rows = rows.map((row) => row.filter(([, w]) => w !== 0));
    this.first = Int32Array.from(rows, (row) => Math.min(...row.map(([i]) => i)));
    this.last = Int32Array.from(rows, (row) => Math.max(...row.map(([i]) => i)));
    this.taps = Math.max(...rows.map((_, o) => this.last[o] - this.first[o])) + 1;
    this.weights = new Float32Array(out * this.taps);
    rows.forEach((row, o) => row.forEach(([i, w]) => (this.weights[o * this.taps + i - this.first[o]] += w)));
    this.low = low;
    this.out = out;
  }

  /** [start, stop) of the outputs that read any of the inputs `low` to `high`. */
  outputs(low, high) {
    let start = 0, stop = this.out;
    while (start < stop && this.last[start] < low) start++;
    while (stop > start && this.first[stop - 1] > high) stop--;
    return [start, stop];
  }
}

export class Enlarger {
  /** All [height, width]. lowSize: low-res masks; padded: model input; input: the photo inside it; size: the output */
  constructor(lowSize, padded, input, size, how) {
    this.how = how;
    this.size = size;
    [this.rows, this.columns] = [0, 1].map((i) => new Axis(lowSize[i], padded[i], input[i], size[i], how));
  }

  /** The window outside which no output exceeds `level`: {top, left, height, width}, or null. */
  window(logits, level) {
    const [h, w] = [this.rows.low, this.columns.low];
    let [top, bottom, left, right] = [h, -1, w, -1];
    for (let y = 0; y < h; y++) {
      for (let x = 0; x < w; x++) {
        if (logits[y * w + x] <= level) continue;
        if (y < top) top = y;
        bottom = y;
        if (x < left) left = x;
        if (x > right) right = x;
      }
    }
    if (bottom < 0) return null;
    if (this.how === "bicubic") return { top: 0, left: 0, height: this.rows.out, width: this.columns.out }; // negative weights lift pixels beside it
    const [y0, y1] = this.rows.outputs(top, bottom), [x0, x1] = this.columns.outputs(left, right);
    return y1 > y0 && x1 > x0 ? { top: y0, left: x0, height: y1 - y0, width: x1 - x0 } : null;
  }

  /** The window extended by `by` pixels on each side, clipped to the image. */
  grown(window, by) {
    const top = Math.max(0, window.top - by), left = Math.max(0, window.left - by);
    return { top, left, height: Math.min(this.size[0], window.top + window.height + by) - top,
      width: Math.min(this.size[1], window.left + window.width + by) - left };
  }

  /** Call `take(column, x)` with the logits of each column of a window, left to right. The array is reused. */
  eachColumn(logits, window, take) {
    const { top, left, height, width } = window, low = this.rows.low, lowWidth = this.columns.low, { rows, columns } = this;
    const source = this.how === "probability" ? logits.map((v) => 1 / (1 + Math.exp(-v))) : logits;
    const mixed = new Float32Array(low), column = new Float32Array(height), n = rows.taps, start = rows.first[top], stop = rows.last[top + height - 1];
    for (let x = left; x < left + width; x++) {
      const from = columns.first[x], taps = columns.last[x] - from + 1, at = x * columns.taps;
      for (let y = start; y <= stop; y++) {
        let sum = 0;
        for (let k = 0, i = y * lowWidth + from; k < taps; k++, i++) sum += columns.weights[at + k] * source[i];
        mixed[y] = sum;
      }
      for (let y = 0, o = top; y < height; y++, o++) {
        let sum = 0;
        for (let k = 0, i = rows.first[o], w = o * n; k < n; k++, i++, w++) if (rows.weights[w]) sum += rows.weights[w] * mixed[i];
        column[y] = sum;
      }
      if (this.how === "probability") {
        for (let y = 0; y < height; y++) {
          const p = Math.min(1 - 1e-6, Math.max(1e-6, column[y]));
          column[y] = Math.log(p / (1 - p));
        }
      }
      take(column, x);
    }
  }

  /** The logits of a window, row-major: Float32Array of height * width. */
  values(logits, window) {
    const { left, height, width } = window, out = new Float32Array(height * width);
    this.eachColumn(logits, window, (column, x) => {
      for (let y = 0, i = x - left; y < height; y++, i += width) out[i] = column[y];
    });
    return out;
  }
}
