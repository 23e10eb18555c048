// Exports the objects of a photo, with the file names and contents that the server's page gives.
import { Failure } from "../page/failure.js";
import { COLORS } from "../page/state.js";
import { png, zip } from "./archives.js";
import { cvat, labelMap, labelme, labelStudio } from "./labels.js";
import { pathOfMask } from "./outline.js";
import { openPicture } from "./picture.js";
import { factsOfWindow, toRuns, windowOf } from "./rle.js";
import { dataYaml, labelLine } from "./yolo.js";

const UNNAMED = "object";
const CATEGORY = { id: 1, name: UNNAMED, supercategory: "object" };
const WORK = 4e9; // most pixels in one export: objects * formats * photo size

/** scene: {name, blob, size, objects, limits} -> {name, content: Blob} */
export async function exportFiles(scene, formats) {
  if (!scene.objects.length) throw new Failure(400, "there is no object yet; click on one first");
  if (scene.objects.length * formats.length * scene.size[0] * scene.size[1] > WORK) {
    throw new Failure(413, "this is too much at once; export fewer objects or formats at a time");
  }
  const full = { ...scene, stem: slug(scene.name.split(/[/\\]/).at(-1).replace(/\.[^.]*$/, "")) || "photo", picture: null };
  full.masks = scene.objects.map((o) => windowOf(toRuns(o.rle.counts, scene.size), scene.size));
  full.names = scene.objects.map((o) => o.name || UNNAMED);
  full.labels = [...new Set(scene.objects.map((o) => o.name || UNNAMED))];
  try {
    if (formats.includes("cutouts")) full.picture = await openPicture(scene.blob, scene.limits);
    const files = [];
    for (const format of formats) files.push(...(await FORMATS[format](full)));
    const alone = files.length === 1, [name, content] = alone ? files[0] : [`${full.stem}.zip`, await zip(files)];
    return { name: name.split("/").at(-1), content: new Blob([content]) };
  } finally {
    full.picture?.close();
  }
}

const FORMATS = {
  async masks(scene) {
    const [height, width] = scene.size;
    return each(scene, "mask", async (mask) => {
      const levels = new Uint8Array(height * width);
      for (let y = 0; y < mask.height; y++) {
        for (let x = 0, i = y * mask.width, at = (mask.top + y) * width + mask.left; x < mask.width; x++, i++, at++) levels[at] = mask.pixels[i] * 255;
      }
      return png(levels, width, height, 1);
    });
  },
  cutouts: (scene) => each(scene, "cutout", (mask) => cutout(mask, scene)),
  async coco(scene) {
    const images = [{ id: 1, file_name: `${scene.stem}.jpg`, width: scene.size[1], height: scene.size[0] }];
    const annotations = records(scene).map((record, i) => ({ ...record, image_id: 1, category_id: scene.labels.indexOf(scene.objects[i].name || UNNAMED) + 1, iscrowd: 0 }));
    const categories = scene.labels.map((name, i) => ({ ...CATEGORY, id: i + 1, name }));
    return [["coco.json", json({ images, annotations, categories })]];
  },
  async sa1b(scene) {
    const image = { image_id: 1, file_name: `${scene.stem}.jpg`, width: scene.size[1], height: scene.size[0] };
    return [[`${scene.stem}.json`, json({ image, annotations: records(scene) })]];
  },
  async svg(scene) {
    const [height, width] = scene.size, paths = scene.masks.map((mask, i) => {
      const color = COLORS[i % COLORS.length];
      return `<path id="object-${i + 1}" d="${pathOfMask(mask, scene.size)}" fill="${color}" fill-opacity="0.4" fill-rule="evenodd" stroke="${color}" stroke-width="2" stroke-linejoin="round" vector-effect="non-scaling-stroke"/>`;
    });
    const lines = [`<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}">`, ...paths, "</svg>", ""];
    return [[`${scene.stem}.svg`, text(lines.join("\n"))]];
  },
  async yolo(scene) {
    const lines = scene.masks.map((mask, i) => labelLine(mask, scene.size, scene.labels.indexOf(scene.objects[i].name || UNNAMED)));
    return [[`yolo/images/${scene.stem}.jpg`, await jpeg(scene)], [`yolo/labels/${scene.stem}.txt`, text(lines.map((line) => `${line}\n`).join(""))], ["yolo/data.yaml", text(dataYaml(scene.labels))]];
  },
  labelmap: labelMap,
  labelme: async (scene) => (await labelme(scene)).map(asBytes),
  cvat: async (scene) => cvat(scene).map(asBytes),
  labelstudio: async (scene) => labelStudio(scene).map(asBytes),
};

const asBytes = ([name, content]) => [name, typeof content === "string" ? text(content) : json(content)];

async function each(scene, kind, make) {
  const files = [], digits = String(scene.objects.length).length;
  for (const [i, mask] of scene.masks.entries()) {
    const name = [String(i + 1).padStart(digits, "0"), slug(scene.objects[i].name)].filter(Boolean).join("-");
    files.push([`${kind}s/${scene.stem}.${kind}-${name}.png`, await make(mask)]);
  }
  return files;
}

function records({ objects, masks, size }) {
  return objects.map((o, i) => {
    const { rle, area, bbox } = factsOfWindow(masks[i], size), record = { id: i + 1, segmentation: rle, area, bbox };
    if (o.name) record.name = o.name;
    if (o.score != null) record.predicted_iou = o.score;
    if (o.stability != null) record.stability_score = o.stability;
    if (o.points.length) Object.assign(record, { point_coords: o.points, point_labels: o.labels });
    if (o.box) record.input_box = o.box;
    return record;
  });
}

/** The object on a transparent background, cropped, with a soft edge. */
async function cutout(mask, { picture, size }) {
  const top = Math.max(0, mask.top - 1), left = Math.max(0, mask.left - 1);
  const height = Math.min(size[0], mask.top + mask.height + 1) - top, width = Math.min(size[1], mask.left + mask.width + 1) - left;
  const rgba = new Uint8Array(height * width * 4), inside = (y, x) => mask.pixels[Math.min(mask.height - 1, Math.max(0, y)) * mask.width + Math.min(mask.width - 1, Math.max(0, x))];
  const covered = (y, x) => (y < 0 || x < 0 || y >= mask.height || x >= mask.width ? 0 : inside(y, x));
  for (let start = 0; start < height; start += 256) {
    const count = Math.min(256, height - start), pixels = picture.rows(top + start, count);
    for (let y = 0; y < count; y++) {
      for (let x = 0; x < width; x++) {
        const [v, u] = [start + y + top - mask.top, x + left - mask.left];
        let cover = 0;
        for (let dy = -1; dy <= 1; dy++) for (let dx = -1; dx <= 1; dx++) cover += covered(v + dy, u + dx) * (2 - Math.abs(dy)) * (2 - Math.abs(dx));
        if (!cover) continue;
        const to = 4 * ((start + y) * width + x), from = 4 * (y * size[1] + left + x);
        for (let c = 0; c < 3; c++) rgba[to + c] = pixels[from + c];
        rgba[to + 3] = Math.round((cover / 16) * 255);
      }
    }
  }
  return png(rgba, width, height, 4);
}

async function jpeg({ blob }) {
  if (blob.type === "image/jpeg") return new Uint8Array(await blob.arrayBuffer());
  const bitmap = await createImageBitmap(blob, { imageOrientation: "from-image" }), canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  canvas.getContext("2d", { alpha: false }).drawImage(bitmap, 0, 0);
  bitmap.close();
  return new Uint8Array(await (await canvas.convertToBlob({ type: "image/jpeg", quality: 0.92 })).arrayBuffer());
}

const text = (content) => new TextEncoder().encode(content);
/** Escaped to ASCII, so that names in any script survive. */
const json = (document) => text(`${JSON.stringify(document).replace(/[\u0080-\uffff]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`)}\n`);
/** A file name part that is valid on every system. */
export const slug = (name) => (name ?? "").normalize("NFKD").replace(/[^\0-\x7f]/g, "").replace(/[^A-Za-z0-9_]+/g, "-").replace(/^-+|-+$/g, "").slice(0, 60);
