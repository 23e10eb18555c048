// Pillow's 8-bit resize: antialiased, horizontal then vertical, rounded to 8 bits after each pass, with 22-bit coefficients
// (Pillow, src/libImaging/Resample.c).

const BITS = 22, HALF = 1 << (BITS - 1);
const cubic = (x) => {
  const a = -0.5;
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
};
const sinc = (x) => (x === 0 ? 1 : Math.sin(x * Math.PI) / (x * Math.PI));

/** Pillow's filter number -> [support, kernel]. */
const FILTERS = {
  1: [3, (x) => (x < 3 ? sinc(x) * sinc(x / 3) : 0)], // Lanczos
  2: [1, (x) => (x < 1 ? 1 - x : 0)], // bilinear
  3: [2, cubic],
  4: [0.5, (x) => (x < 0.5 ? 1 : 0)], // box
};

/** Which of `from` inputs each of `to` outputs reads, and the fixed-point weights. */
export function weights(from, to, filter) {
  const [reach, weight] = FILTERS[filter], scale = from / to, wide = Math.max(scale, 1), support = reach * wide;
  const taps = Math.ceil(support) * 2 + 1, first = new Int32Array(to), count = new Int32Array(to), values = new Int32Array(to * taps);
  for (let i = 0; i < to; i++) {
    const centre = (i + 0.5) * scale;
    const start = Math.max(0, Math.trunc(centre - support + 0.5)), n = Math.min(from, Math.trunc(centre + support + 0.5)) - start;
    const row = Array.from({ length: n }, (_, k) => weight(Math.abs((k + start - centre + 0.5) / wide)));
    const sum = row.reduce((a, b) => a + b, 0);
    row.forEach((w, k) => {
      const share = sum ? w / sum : w;
      values[i * taps + k] = Math.trunc((share < 0 ? -0.5 : 0.5) + share * (1 << BITS));
    });
    first[i] = start;
    count[i] = n;
  }
  return { taps, first, count, values };
}

const clip = (sum) => {
  const level = Math.floor(sum / (1 << BITS));
  return level < 0 ? 0 : level > 255 ? 255 : level;
};

/**
 * Resize an RGBA photo, read in bands, to RGB: width * height * 3 bytes.
 * rows(top, count): RGBA of `count` rows; photo: {width, height}
 */
export function resize(rows, photo, width, height, filter = 2, band = 256) {
  if (!FILTERS[filter]) filter = 2;
  const across = weights(photo.width, width, filter), narrow = new Uint8ClampedArray(photo.height * width * 3);
  for (let top = 0; top < photo.height; top += band) {
    const count = Math.min(band, photo.height - top), pixels = rows(top, count);
    for (let y = 0; y < count; y++) {
      const line = 4 * y * photo.width;
      let at = (top + y) * width * 3;
      for (let x = 0; x < width; x++) {
        if (photo.width === width) {
          for (let c = 0; c < 3; c++) narrow[at++] = pixels[line + 4 * x + c];
          continue;
        }
        const n = across.count[x], w = x * across.taps;
        let i = line + 4 * across.first[x], r = HALF, g = HALF, b = HALF;
        for (let k = 0; k < n; k++, i += 4) {
          const share = across.values[w + k];
          r += share * pixels[i];
          g += share * pixels[i + 1];
          b += share * pixels[i + 2];
        }
        narrow[at++] = clip(r);
        narrow[at++] = clip(g);
        narrow[at++] = clip(b);
      }
    }
  }
  if (photo.height === height) return narrow;
  const down = weights(photo.height, height, filter), out = new Uint8ClampedArray(width * height * 3), line = width * 3;
  for (let y = 0; y < height; y++) {
    const n = down.count[y], w = y * down.taps, start = down.first[y] * line;
    for (let x = 0; x < line; x++) {
      let sum = HALF;
      for (let k = 0, i = start + x; k < n; k++, i += line) sum += down.values[w + k] * narrow[i];
      out[y * line + x] = clip(sum);
    }
  }
  return out;
}

const round32 = Math.fround;

/** Bilinear stretch to a square, not antialiased and not rounded: Float32Array of side * side * 3. */
export function stretchFloat(rows, photo, side) {
  const along = (length) => Array.from({ length: side }, (_, i) => {
    const at = Math.max(0, round32(round32(round32(length) / round32(side)) * (i + 0.5) - 0.5));
    const before = Math.min(Math.floor(at), length - 1);
    return [before, Math.min(before + 1, length - 1), round32(at - before)];
  });
  const out = new Float32Array(side * side * 3), columns = along(photo.width);
  along(photo.height).forEach(([top, bottom, down], y) => {
    const [above, below] = [rows(top, 1), rows(bottom, 1)];
    columns.forEach(([left, right, over], x) => {
      for (let c = 0; c < 3; c++) {
        const l = above[4 * left + c] * (1 - down) + below[4 * left + c] * down;
        const r = above[4 * right + c] * (1 - down) + below[4 * right + c] * down;
        out[(y * side + x) * 3 + c] = l * (1 - over) + r * over;
      }
    });
  });
  return out;
}
