// YOLO segmentation labels: one ring, normalised by width and height. The format has no holes and no separate parts, so all
// outlines are joined at their nearest corners by bridges of zero width.
import { rings, simpler } from "./outline.js";

const TOLERANCE = 0.7, CORNERS = 10_000;

export function labelLine(mask, [height, width], label) {
  const values = Float32Array.from(mask.pixels, (v) => v - 0.5);
  const all = rings(values, mask.height, mask.width).map((ring) => simpler(ring, TOLERANCE)).map(pairs).filter((ring) => ring.length > 2);
  all.sort((a, b) => Math.abs(area(b)) - Math.abs(area(a)));
  let joined = all[0] ?? [];
  for (const ring of all.slice(1)) {
    if (joined.length + ring.length + 2 > CORNERS) break;
    const [j, r] = nearest(joined, ring), way = [...ring.slice(r), ...ring.slice(0, r), ring[r], joined[j]];
    joined = [...joined.slice(0, j + 1), ...way, ...joined.slice(j + 1)];
  }
  const part = (v, whole) => String(Number(Math.min(1, Math.max(0, v / whole)).toFixed(6)));
  return `${label} ${joined.map(([x, y]) => `${part(x + mask.left + 0.5, width)} ${part(y + mask.top + 0.5, height)}`).join(" ")}`;
}

const pairs = (ring) => Array.from({ length: ring.length / 2 }, (_, i) => [ring[2 * i], ring[2 * i + 1]]);

function area(ring) {
  return ring.reduce((sum, [x, y], i) => {
    const [u, v] = ring[(i + 1) % ring.length];
    return sum + (x * v - u * y) / 2;
  }, 0);
}

function nearest(a, b) {
  let best = Infinity, found = [0, 0];
  a.forEach(([x, y], i) => b.forEach(([u, v], j) => {
    const gap = (x - u) ** 2 + (y - v) ** 2;
    if (gap < best) [best, found] = [gap, [i, j]];
  }));
  return found;
}

export function dataYaml(names) {
  const quoted = (name) => `"${name.replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"`;
  return ["path: .", "train: images", "val: images", "names:", ...names.map((name, i) => `  ${i}: ${quoted(name)}`), ""].join("\n");
}
