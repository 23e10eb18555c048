// Runs parts of the page without a server on cases from Python: node alone_parts.mjs IN.json OUT.json
import fs from "node:fs";
import { inOrder, inside, meanScore, shapeOfBoth, windowAround } from "../../demo/alone/closer.js";
import { Enlarger } from "../../demo/alone/enlarge.js";
import { cvat, labelMap, labelme, labelStudio } from "../../demo/alone/labels.js";
import { labelLine } from "../../demo/alone/yolo.js";
import { pathOfMask, rings } from "../../demo/alone/outline.js";
import { boxOf, maskPrompt, paint } from "../../demo/alone/painting.js";
import { prepare } from "../../demo/alone/prepare.js";
import { png, zip } from "../../demo/alone/archives.js";
import { readAnnotations } from "../../demo/alone/imports.js";
import { factsOfWindow, toRuns, toText, windowOf } from "../../demo/alone/rle.js";
import { resize } from "../../demo/alone/resize.js";
import { shapeOf } from "../../demo/alone/shapes.js";
import { tidy } from "../../demo/alone/search.js";
import { tidyRuns, tidyValues } from "../../demo/alone/tidying.js";

const bytes = (text) => new Uint8Array(Buffer.from(text, "base64"));
const floats = (text) => new Float32Array(bytes(text).buffer);
const base64 = (data) => Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString("base64");
const rowsOf = (rgba, width) => (top, count) => rgba.subarray(4 * top * width, 4 * (top + count) * width);

const CALLS = {
  resize: ({ rgba, width, height, to, filter, band }) => base64(resize(rowsOf(bytes(rgba), width), { width, height }, ...to, filter, band)),
  prepare: ({ rgba, size, how }) => base64(prepare(rowsOf(bytes(rgba), size[1]), size, how, false).values),
  enlarge: ({ logits, low, padded, input, size, how }) => {
    const enlarger = new Enlarger(low, padded, input, size, how), values = floats(logits), window = enlarger.window(values, 0);
    return { window, values: base64(enlarger.values(values, window)), shape: shapeOf(values, enlarger, enlarger) };
  },
  window: ({ size, extent, clicks, box }) => windowAround(size, extent, clicks, box),
  inside: ({ window, clicks, box }) => inside(window, clicks, box),
  closer: ({ frames, looks, window, tidying }) => {
    const [exact, inner] = frames.map(({ low, padded, input, size, how }) => new Enlarger(low, padded, input, size, how));
    const [first, second] = looks.map(({ scores, low }) => inOrder(scores, floats(low), 32));
    return first.logits.map((each, i) => ({ score: meanScore(first.scores[i], second.scores[i]), ...shapeOfBoth(each, exact, second.logits[i], inner, window, tidying) }));
  },
  rle: ({ counts, size }) => {
    const runs = toRuns(counts, size), window = windowOf(runs, size);
    return { text: toText(runs), facts: window && factsOfWindow(window, size) };
  },
  tidy: ({ pixels, size, least }) => {
    const mask = { top: 0, left: 0, height: size[0], width: size[1], pixels: bytes(pixels) };
    const changed = tidy(mask, size, least);
    return { changed, pixels: base64(mask.pixels) };
  },
  tidied: ({ counts, size, how }) => toText(tidyRuns(toRuns(counts, size), size, how)),
  tidied_values: ({ values, window, size, how }) => {
    const found = floats(values);
    tidyValues(found, window, size, how);
    return base64(found);
  },
  rings: ({ values, size }) => rings(floats(values), ...size),
  path: ({ counts, size }) => pathOfMask(windowOf(toRuns(counts, size), size), size),
  paint: ({ strokes, size, side }) => {
    const painted = paint(strokes, size);
    return painted && { ...painted, pixels: base64(painted.pixels), box: boxOf(painted, size), prompt: base64(maskPrompt(painted, side)) };
  },
  yolo: ({ counts, size }) => labelLine(windowOf(toRuns(counts, size), size), size, 3),
  labels: async ({ objects, size, stem }) => {
    const masks = objects.map((o) => windowOf(toRuns(o.counts, size), size)), scene = { stem, size, masks, names: objects.map((o) => o.name), objects };
    const [[name, picture]] = await labelMap(scene), [[, me]] = await labelme(scene), [[, xml]] = cvat(scene), [[, tasks], [, view]] = labelStudio(scene);
    return { name, picture: base64(picture), labelme: me, cvat: xml, tasks, view };
  },
  import: ({ text, size }) => {
    try {
      return readAnnotations(text, size, { objects: 1000 });
    } catch (e) {
      return { error: e.message };
    }
  },
  png: async ({ levels, width, height, channels }) => base64(await png(bytes(levels), width, height, channels)),
  zip: async ({ files }) => base64(await zip(files.map(([name, text]) => [name, bytes(text)]))),
};

const found = [];
for (const { call, ...given } of JSON.parse(fs.readFileSync(process.argv[2], "utf8"))) found.push(await CALLS[call](given));
fs.writeFileSync(process.argv[3], JSON.stringify(found));
