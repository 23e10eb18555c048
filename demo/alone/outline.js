// Outlines: the zero level of a field as rings of points, simplified, as SVG path data.

export const DRAWN = 512; // long side at which outlines of logits are traced
export const TRACED = 1024; // long side at which outlines of binary masks are traced
const STRAIGHT = 0.3; // tolerance of simplification, in pixels at the traced size

export function drawnSize(size, longest = DRAWN) {
  const scale = Math.min(1, longest / Math.max(...size));
  return size.map((side) => Math.max(1, Math.round(side * scale)));
}

/**
 * The zero level by marching squares, interpolated between pixels; outside the image counts as below zero.
 * values: row-major; returns rings [x, y, x, y, ...], in pixel indices
 */
export function rings(values, height, width) {
  const W = width + 1; // cells lie between pixels, so there is one more per axis: those at the border are half outside
  const next = new Int32Array(2 * W * (height + 2)).fill(-1), order = [];
  const at = (y, x) => (y < 0 || x < 0 || y >= height || x >= width ? -1e9 : values[y * width + x]);
  // Edges between pixels are numbered: 2 * place to the right neighbour, 2 * place + 1 to the one below.
  const place = (y, x) => (y + 1) * W + x + 1;
  for (let y = -1; y < height; y++) {
    for (let x = -1; x < width; x++) {
      const a = at(y, x), b = at(y, x + 1), c = at(y + 1, x + 1), d = at(y + 1, x);
      const kind = (a > 0 ? 8 : 0) | (b > 0 ? 4 : 0) | (c > 0 ? 2 : 0) | (d > 0 ? 1 : 0);
      if (kind === 0 || kind === 15) continue;
      const top = 2 * place(y, x), left = top + 1, right = 2 * place(y, x + 1) + 1, bottom = 2 * place(y + 1, x);
      const go = (from, to) => {
        next[from] = to;
        order.push(from);
      };
      const filled = (a + b + c + d) / 4 > 0; // resolves saddles by the cell's mean
      switch (kind) { // the mask lies to the left of the direction of travel
        case 8: go(top, left); break;
        case 4: go(right, top); break;
        case 2: go(bottom, right); break;
        case 1: go(left, bottom); break;
        case 12: go(right, left); break;
        case 6: go(bottom, top); break;
        case 3: go(left, right); break;
        case 9: go(top, bottom); break;
        case 7: go(left, top); break;
        case 11: go(top, right); break;
        case 13: go(right, bottom); break;
        case 14: go(bottom, left); break;
        case 10: if (filled) { go(top, right); go(bottom, left); } else { go(top, left); go(bottom, right); } break;
        case 5: if (filled) { go(right, bottom); go(left, top); } else { go(right, top); go(left, bottom); } break;
      }
    }
  }
  const found = [];
  for (const start of order) {
    if (next[start] < 0) continue;
    const ring = [];
    for (let edge = start; next[edge] >= 0;) {
      const p = edge >> 1, y = Math.trunc(p / W) - 1, x = (p % W) - 1, down = edge & 1, v = at(y, x), w = down ? at(y + 1, x) : at(y, x + 1), share = v / (v - w);
      ring.push(down ? x : x + share, down ? y + share : y);
      const after = next[edge];
      next[edge] = -1;
      edge = after;
    }
    found.push(ring);
  }
  return found;
}

/** Simplify a closed ring by Douglas-Peucker; no dropped corner lies further than `least` from it. */
export function simpler(ring, least) {
  const n = ring.length / 2;
  if (n < 4) return ring;
  const far = (i, from) => (ring[2 * i] - ring[2 * from]) ** 2 + (ring[2 * i + 1] - ring[2 * from + 1]) ** 2;
  let start = 0, other = 0;
  for (let i = 1; i < n; i++) if (far(i, 0) > far(start, 0)) start = i;
  for (let i = 0; i < n; i++) if (far(i, start) > far(other, start)) other = i;
  const kept = new Uint8Array(n), parts = [[start, other > start ? other : other + n], [other, start > other ? start : start + n]];
  kept[start] = kept[other] = 1;
  while (parts.length) {
    const [a, b] = parts.pop(), [ax, ay] = [ring[2 * (a % n)], ring[2 * (a % n) + 1]];
    const dx = ring[2 * (b % n)] - ax, dy = ring[2 * (b % n) + 1] - ay, length = Math.hypot(dx, dy) || 1;
    let worst = least, split = -1;
    for (let i = a + 1; i < b; i++) {
      const distance = Math.abs((ring[2 * (i % n)] - ax) * dy - (ring[2 * (i % n) + 1] - ay) * dx) / length;
      if (distance > worst) [worst, split] = [distance, i];
    }
    if (split < 0) continue;
    kept[split % n] = 1;
    parts.push([a, split], [split, b]);
  }
  const out = [];
  for (let i = 0; i < n; i++) if (kept[i]) out.push(ring[2 * i], ring[2 * i + 1]);
  return out;
}

/**
 * The outline of a window of values, as path data in pixels of the photo (fill rule even-odd).
 * window: {top, left, height, width} at the drawn size; drawn, size: [height, width] as drawn and of the photo
 */
export function pathOf(values, window, drawn, size) {
  let text = "";
  const [sx, sy] = [size[1] / drawn[1], size[0] / drawn[0]];
  const toEdge = (v, length) => (v <= 0.5 ? 0 : v >= length - 0.5 ? length : v); // snap border pixel centres to the border
  for (const ring of rings(values, window.height, window.width)) {
    for (let i = 0; i < ring.length; i += 2) {
      ring[i] = toEdge(ring[i] + window.left + 0.5, drawn[1]);
      ring[i + 1] = toEdge(ring[i + 1] + window.top + 0.5, drawn[0]);
    }
    const simple = simpler(ring, STRAIGHT);
    text += "M";
    for (let i = 0; i < simple.length; i += 2) text += `${(simple[i] * sx).toFixed(1)} ${(simple[i + 1] * sy).toFixed(1)} `;
    text += "Z";
  }
  return text;
}

/** The outline of a binary mask; mask: a window of pixels of the photo; longest: long side of the photo as traced */
export function pathOfMask(mask, size, longest = TRACED) {
  const traced = drawnSize(size, longest), scale = Math.max(...size) / Math.max(...traced);
  const left = Math.max(0, Math.trunc(mask.left / scale) - 1), top = Math.max(0, Math.trunc(mask.top / scale) - 1);
  const right = Math.min(traced[1], Math.trunc((mask.left + mask.width - 1) / scale) + 2);
  const bottom = Math.min(traced[0], Math.trunc((mask.top + mask.height - 1) / scale) + 2);
  const window = { top, left, height: bottom - top, width: right - left };
  const pixel = (y, x) => (y < 0 || x < 0 || y >= mask.height || x >= mask.width ? 0 : mask.pixels[y * mask.width + x]);
  const soft = new Float32Array(window.height * window.width);
  for (let y = 0; y < window.height; y++) {
    const v = (y + top + 0.5) * scale - 0.5 - mask.top, y0 = Math.floor(v), fy = v - y0;
    for (let x = 0; x < window.width; x++) {
      const u = (x + left + 0.5) * scale - 0.5 - mask.left, x0 = Math.floor(u), fx = u - x0;
      soft[y * window.width + x] = (pixel(y0, x0) * (1 - fx) + pixel(y0, x0 + 1) * fx) * (1 - fy) + (pixel(y0 + 1, x0) * (1 - fx) + pixel(y0 + 1, x0 + 1) * fx) * fy;
    }
  }
  return pathOf(smoothed(soft, window), window, traced, size);
}

/** Mix each value with the mean of its 3 x 3 neighbourhood: the sign stays the mask's, the outline becomes smooth. */
function smoothed(soft, { height, width }) {
  const out = new Float32Array(soft.length), row = (y) => Math.min(height - 1, Math.max(0, y)) * width, column = (x) => Math.min(width - 1, Math.max(0, x));
  for (let y = 0; y < height; y++) {
    const [above, here, below] = [row(y - 1), row(y), row(y + 1)];
    for (let x = 0; x < width; x++) {
      const [l, r] = [column(x - 1), column(x + 1)];
      const sum = soft[above + l] + soft[above + x] + soft[above + r] + soft[here + l] + soft[here + x] + soft[here + r] + soft[below + l] + soft[below + x] + soft[below + r];
      out[here + x] = (soft[here + x] + sum / 9 - 1) / 2;
    }
  }
  return out;
}
