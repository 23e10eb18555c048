// Label files for other tools, with exact masks, as `sam_hub.labels` writes them.
import { png } from "./archives.js";

const LABELME = "5.5.0"; // labelme version whose format is written
const PLACE = "/data/local-files/?d="; // Label Studio's URL prefix for files in LOCAL_FILES_DOCUMENT_ROOT
const RUN_BITS = [3, 4, 8, 16]; // bits of a run length; each run uses the smallest that fits

/** 16-bit PNG of object numbers, from 1. Where objects overlap, the smaller one wins. */
export async function labelMap({ stem, size, masks }) {
  const [height, width] = size, levels = new Uint8Array(2 * height * width);
  const areas = masks.map((mask) => mask.pixels.reduce((sum, v) => sum + v, 0));
  const order = [...masks.keys()].sort((a, b) => areas[b] - areas[a] || b - a); // smaller objects are painted last
  for (const k of order) {
    const mask = masks[k], number = k + 1;
    for (let y = 0, i = 0; y < mask.height; y++) {
      for (let x = 0, at = 2 * ((mask.top + y) * width + mask.left); x < mask.width; x++, i++, at += 2) {
        if (mask.pixels[i]) [levels[at], levels[at + 1]] = [number >> 8, number & 255];
      }
    }
  }
  return [[`labelmap/${stem}.png`, await png(levels, width, height, 1, 16)]];
}

export async function labelme({ stem, size, masks, names }) {
  const [imageHeight, imageWidth] = size, shapes = [];
  for (const [i, { top, left, height, width, pixels }] of masks.entries()) {
    const points = [[left, top], [left + width - 1, top + height - 1]]; // the first and the last pixel
    const mask = base64(await png(pixels, width, height, 1));
    shapes.push({ label: names[i], points, group_id: null, description: "", shape_type: "mask", flags: {}, mask });
  }
  return [[`labelme/${stem}.json`, { version: LABELME, flags: {}, shapes, imagePath: `${stem}.jpg`, imageData: null, imageHeight, imageWidth }]];
}

/** The format "CVAT for images 1.1". */
export function cvat({ stem, size, masks, names }) {
  const shapes = masks.map((mask, i) => `    <mask label=${quoted(names[i])} source="auto" occluded="0" rle="${rowRuns(mask).join(", ")}" left="${mask.left}" top="${mask.top}" width="${mask.width}" height="${mask.height}" z_order="0"></mask>\n`);
  const labels = [...new Set(names)].map((name) => `<label><name>${escaped(name)}</name></label>`).join("");
  const lines = ['<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n',
    `  <meta><task><size>1</size><mode>annotation</mode><labels>${labels}</labels></task></meta>\n`,
    `  <image id="0" name=${quoted(`${stem}.jpg`)} width="${size[1]}" height="${size[0]}">\n`, ...shapes, "  </image>\n</annotations>\n"];
  return [["cvat/annotations.xml", lines.join("")]];
}

export function labelStudio({ stem, size, masks, names, objects }) {
  const result = masks.map((mask, i) => ({
    id: String(i + 1), type: "brushlabels", from_name: "label", to_name: "image", original_width: size[1], original_height: size[0], image_rotation: 0,
    ...(objects[i].score == null ? {} : { score: objects[i].score }),
    value: { format: "rle", rle: brushRuns(mask, size), brushlabels: [names[i]] },
  }));
  const labels = [...new Set(names)].map((name) => `<Label value=${quoted(name)}/>`).join("");
  const view = `<View><Image name="image" value="$image"/><BrushLabels name="label" toName="image">${labels}</BrushLabels></View>\n`;
  const task = { data: { image: `${PLACE}${encodeURIComponent(`${stem}.jpg`)}` }, predictions: [{ model_version: "sam-hub", result }] };
  return [["labelstudio/tasks.json", [task]], ["labelstudio/labels.xml", view]];
}

/** Row-major run lengths within the window; the first run counts zeros and may be 0. */
function rowRuns({ pixels }) {
  const runs = [];
  let value = 0, count = 0;
  for (const each of pixels) {
    if (each === value) count++;
    else {
      runs.push(count);
      [value, count] = [each, 1];
    }
  }
  return [...runs, count];
}

/** Label Studio's encoding: the RGBA bytes, run-length encoded as by thi.ng/rle-pack; see `sam_hub.labels.labelstudio`. */
function brushRuns({ top, left, height, width, pixels }, size) {
  const bytes = [], longest = 1 << RUN_BITS.at(-1);
  let held = 0, count = 0;
  const put = (word, bits) => {
    for (let i = bits - 1; i >= 0; i--) {
      held = (held << 1) | (Math.floor(word / 2 ** i) & 1);
      if (++count < 8) continue;
      bytes.push(held);
      held = count = 0;
    }
  };
  put(4 * size[0] * size[1], 32);
  put(7, 5);
  for (const bits of RUN_BITS) put(bits - 1, 4);
  let value = 0, length = 0;
  const end = () => {
    for (let n = length; n > 0;) {
      const part = Math.min(n, longest), place = RUN_BITS.findIndex((bits) => part <= 1 << bits);
      put(1, 1);
      put(place, 2);
      put(part - 1, RUN_BITS[place]);
      put(value, 8);
      n -= part;
    }
  };
  const add = (next, n) => {
    if (next === value) length += n;
    else if (n) {
      end();
      [value, length] = [next, n];
    }
  };
  add(0, 4 * (top * size[1] + left));
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++, i++) add(pixels[i] ? 255 : 0, 4);
    add(0, 4 * (y + 1 < height ? size[1] - width : (size[0] - top - height) * size[1] + size[1] - left - width));
  }
  end();
  if (count) bytes.push(held << (8 - count));
  return bytes;
}

function base64(bytes) {
  let text = "";
  for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192));
  return btoa(text);
}

const escaped = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
/** A quoted XML attribute value, in whichever quotes the text does not contain. */
function quoted(text) {
  const plain = escaped(text).replaceAll("\n", "&#10;").replaceAll("\r", "&#13;").replaceAll("\t", "&#9;");
  if (!plain.includes('"')) return `"${plain}"`;
  return plain.includes("'") ? `"${plain.replaceAll('"', "&quot;")}"` : `'${plain}'`;
}
