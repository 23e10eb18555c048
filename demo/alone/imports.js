// Reads COCO and SA-1B files into objects; every field is validated.
import { Failure } from "../page/failure.js";
import { toRuns, windowOf } from "./rle.js";
import { shapeOfMask } from "./shapes.js";

const NAME_LENGTH = 80, UNNAMED = "object", RINGS = 1000;
const wrong = (text) => new Failure(400, text);

export function readAnnotations(text, size, limits) {
  let document;
  try {
    document = JSON.parse(text);
  } catch {
    throw wrong("this file is not JSON; choose a COCO or SA-1B file");
  }
  const { records, names } = recordsOf(document, size);
  if (records.length > limits.objects) throw wrong(`${records.length} objects are too many; import at most ${limits.objects} at once`);
  return records.map((record, i) => {
    const what = `annotation ${i + 1}`, mask = maskOf(record.segmentation, size, what);
    const name = typeof record.name === "string" ? record.name : (names.get(record.category_id) ?? "");
    return { name: cleanName(name === UNNAMED ? "" : name), ...scoresOf(record), ...promptOf(record, size), ...shapeOfMask(mask, size) };
  });
}

function recordsOf(given, [height, width]) {
  const document = Array.isArray(given) ? { annotations: given } : given;
  let records = document?.annotations;
  if (!Array.isArray(records) || !records.every((r) => r && typeof r === "object")) throw wrong("this JSON holds no annotations; choose a COCO or SA-1B file");
  const images = [document.images ?? document.image ?? []].flat().filter((image) => image && typeof image === "object");
  const fitting = images.filter((image) => image.height === height && image.width === width);
  if (images.length && !fitting.length) throw wrong(`the file is for a photo of ${images[0].width} x ${images[0].height} pixels, and this one has ${width} x ${height}`);
  if (images.length > 1) records = records.filter((r) => r.image_id === fitting[0].id);
  const categories = Array.isArray(document.categories) ? document.categories : [];
  return { records, names: new Map(categories.filter((c) => typeof c?.name === "string").map((c) => [c.id, c.name])) };
}

function maskOf(segmentation, size, what) {
  if (Array.isArray(segmentation)) return fromPolygons(segmentation, size, what);
  const runs = segmentation?.counts === undefined ? null : toRuns(segmentation.counts, size);
  if (segmentation?.counts === undefined) throw wrong(`${what} has no mask in COCO run lengths; choose a COCO or SA-1B file`);
  if (!runs || (segmentation.size && String(segmentation.size) !== String(size))) throw wrong(`${what}: the run lengths do not fit the photo of ${size[1]} x ${size[0]} pixels`);
  return windowOf(runs, size);
}

/** Rasterise polygons: pixels whose centre lies in any of them; null if there are none. */
function fromPolygons(polygons, [height, width], what) {
  if (!polygons.length || polygons.length > RINGS) throw wrong(`${what} has ${polygons.length || "no"} polygons; at most ${RINGS} are accepted`);
  const all = new Uint8Array(height * width);
  for (const ring of polygons) {
    if (!Array.isArray(ring) || ring.length < 6 || ring.length % 2 || !ring.every((v) => Number.isFinite(v) && Math.abs(v) < 1e6)) throw wrong(`${what} has a polygon that is not [x, y, x, y, x, y, ...]`);
    for (let y = 0; y < height; y++) {
      const crossings = [], at = y + 0.5;
      for (let i = 0; i < ring.length; i += 2) {
        const [x0, y0] = [ring[i], ring[i + 1]], j = (i + 2) % ring.length, [x1, y1] = [ring[j], ring[j + 1]];
        if (y0 <= at !== y1 <= at) crossings.push(x0 + ((at - y0) / (y1 - y0)) * (x1 - x0));
      }
      crossings.sort((a, b) => a - b);
      for (let i = 0; i + 1 < crossings.length; i += 2) {
        all.fill(1, y * width + Math.min(width, Math.max(0, Math.ceil(crossings[i] - 0.5))), y * width + Math.min(width, Math.max(0, Math.ceil(crossings[i + 1] - 0.5))));
      }
    }
  }
  return all.some(Boolean) ? { top: 0, left: 0, height, width, pixels: all } : null;
}

function cleanName(name) {
  return name.replace(/\p{C}/gu, " ").split(/\s+/).filter(Boolean).join(" ").slice(0, NAME_LENGTH);
}

function scoresOf(record) {
  const found = {};
  for (const [to, from] of [["score", "predicted_iou"], ["stability", "stability_score"]]) {
    if (typeof record[from] === "number" && record[from] >= 0 && record[from] <= 1.1) found[to] = record[from];
  }
  return found;
}

/** The valid parts of the recorded prompt. */
function promptOf({ point_coords: points, point_labels: labels, input_box: box }, [height, width]) {
  const inside = ([x, y]) => x >= 0 && y >= 0 && x <= width && y <= height, found = { points: [], labels: [], box: null };
  if (Array.isArray(points) && points.length <= 1000 && points.every((p) => Array.isArray(p) && p.length === 2 && inside(p))) {
    const kinds = Array.isArray(labels) && labels.length === points.length ? labels : points.map(() => 1);
    if (kinds.every((kind) => kind === 0 || kind === 1)) Object.assign(found, { points, labels: kinds });
  }
  if (Array.isArray(box) && box.length === 4 && inside(box.slice(0, 2)) && inside(box.slice(2)) && box[0] < box[2] && box[1] < box[3]) found.box = box;
  return found;
}
