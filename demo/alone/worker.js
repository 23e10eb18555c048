// The worker: answers the calls of `../page/compute.js`, one model run at a time.
import { Failure } from "../page/failure.js";
import { extentOf, inOrder, inside, meanScore, shapeOfBoth, windowAround } from "./closer.js";
import { exportFiles } from "./exports.js";
import { readAnnotations } from "./imports.js";
import { enlargerOf, Photo, Photos } from "./memory.js";
import { openPicture } from "./picture.js";
import { readPrompt } from "./prompts.js";
import { isKept, Models } from "./runtime.js";
import { search } from "./search.js";
import { drawnSize } from "./outline.js";
import { outlineOf, shapeOf } from "./shapes.js";

const TIDY_SHARE = 0.02;
let facts = null, models = null;
const photos = new Photos(), stopped = new Set();

/** Queue work on the model, first come, first served; the runtime cannot run two things at once. */
let last = Promise.resolve();
const turn = (work) => {
  const done = last.then(() => new Promise((next) => setTimeout(next))).then(work);
  last = done.catch(() => {});
  return done;
};
const ms = (since) => Math.round((performance.now() - since) * 10) / 10;
const score = (value) => Math.round(Math.min(1, Math.max(0, value || 0)) * 1e4) / 1e4;

const calls = {
  async about() {
    const answer = await fetch(new URL("../app.json", import.meta.url));
    if (!answer.ok) throw new Failure(404, "app.json of this page is missing; write the folder again");
    facts = await answer.json();
    models = new Models(facts, (model) => {
      photos.dropThoseOf(model);
      turn(() => model.release());
    });
    const { about } = facts, offered = about.models.map(async (each, i) => {
      const here = each.name === about.default ? null : await isKept(facts.models[i]); // the default loads without asking
      return { ...each, here };
    });
    return { ...about, models: await Promise.all(offered) };
  },

  async encode({ emit, isStopped }, blob, model) {
    if (!blob.size) throw new Failure(400, "the photo is empty (0 bytes); choose another file");
    return encode(emit, isStopped, blob, model);
  },

  async encodeAgain({ emit, isStopped }, id, model) {
    const done = await encode(emit, isStopped, photos.get(id).blob, model);
    photos.drop(id);
    return done;
  },

  async preview(_, id, prompt) {
    const photo = photos.get(id);
    return (await turn(() => bestMask(photo, prompt))).shown;
  },

  async segment({ emit, isStopped }, id, prompt) {
    const photo = photos.get(id), found = await turn(() => bestMask(photo, prompt));
    emit({ stage: "shown", ...found.shown });
    return prompt.zoom ? lookCloser(emit, isStopped, photo, found) : turn(() => allMasks(photo, found));
  },

  async everything({ emit, isStopped }, id, preset, tidy = null) {
    const photo = photos.get(id), start = performance.now();
    const how = { ...photo.model.facts.searches[preset], tidy: shareOf(photo, tidy) };
    const masks = await search(photo, how, turn, (done, of) => emit({ stage: "searching", done, of }), isStopped);
    return { masks: masks.slice(0, facts.about.limits.objects).map((m) => ({ ...m, score: score(m.score), stability: score(m.stability) })), ms: ms(start) };
  },

  async importFile(_, id, text) {
    return { objects: readAnnotations(text, photos.get(id).size, facts.about.limits) };
  },

  async exportFile(_, id, name, objects, formats) {
    const { blob, size } = photos.get(id);
    return exportFiles({ name, blob, size, objects, limits: facts.about.limits }, formats);
  },
};

async function encode(emit, isStopped, blob, name) {
  const opening = models.open(name, emit); // loads while the photo is read
  opening.catch(() => {});
  emit({ stage: "reading" });
  const picture = await openPicture(blob, facts.about.limits);
  try {
    const model = await opening;
    if (isStopped()) return null;
    emit({ stage: "encoding", model: name });
    const { held, took } = await turn(async () => {
      const start = performance.now();
      return { held: await model.encode(picture.rows, picture.size), took: ms(start) };
    });
    const photo = new Photo(blob, picture.size, model, held), [height, width] = picture.size;
    await turn(() => warm(photo));
    return { id: photos.add(photo), width, height, model: name, device: model.device, tidy: shareOf(photo) > 0, encode_ms: took };
  } finally {
    picture.close();
  }
}

/** The share of a mask's area below which specks and holes are removed: as requested, or the model's default. */
function shareOf({ model }, tidy = null) {
  const own = model.facts.tidy ?? 0;
  return tidy === null ? own : tidy ? own || TIDY_SHARE : 0;
}

/** Run the decoder once and build the upsampling weights, so that the first click need not wait for either. */
async function warm(photo) {
  const { side, m } = await photo.model.decode(photo.held, photo.size, [[[photo.size[1] / 2, photo.size[0] / 2]]], [[1]], null, true);
  Object.assign(photo, { side, many: m });
  for (const size of [photo.size, drawnSize(photo.size)]) photo.enlarger(size, side);
}

/** The mask to show first. A click repeats the prompt of the preview before it, so the last result is reused. */
async function bestMask(photo, given) {
  const key = JSON.stringify(given), { model, size, side } = photo;
  if (photo.last?.key === key) return photo.last;
  const start = performance.now(), prompt = readPrompt(given, size, model.facts.prompts, side);
  const mask = prompt.refine ? logitsToRefine(photo, prompt.refine) : prompt.mask;
  const { scores, low } = await model.decode(photo.held, size, [prompt.points], [prompt.labels], mask, prompt.ambiguous);
  const took = ms(start), best = scores.indexOf(Math.max(...scores)), area = side * side;
  const masks = Array.from(scores, (each, i) => ({ score: score(each), logits: low.slice(i * area, (i + 1) * area) }));
  const how = { ...prompt.tidied, share: shareOf(photo, given.tidy) };
  const path = outlineOf(masks[best].logits, photo.enlarger(drawnSize(size), side), size, how);
  const found = { key, prompt, mask, scores, low, masks, best, took, how, shown: { path, score: masks[best].score, decode_ms: took } };
  if (prompt.ambiguous) photo.last = found;
  return found;
}

async function allMasks(photo, { prompt, mask, masks, best, took, how, shown }) {
  const start = performance.now(), { model, size, side } = photo, area = side * side;
  let all = masks;
  if (masks.length === 1 && !prompt.ambiguous && photo.many > 1) {
    const { scores, low } = await model.decode(photo.held, size, [prompt.points], [prompt.labels], mask, true);
    all = [...masks, ...Array.from(scores, (each, i) => ({ score: score(each), logits: low.slice(i * area, (i + 1) * area) }))];
  }
  const decode_ms = took + ms(start), [exact, drawn] = [size, drawnSize(size)].map((each) => photo.enlarger(each, side));
  const shapes = all.map((each, i) => ({ score: each.score, ...shapeOf(each.logits, exact, drawn, i === best ? shown.path : null, how) }));
  return { result: photo.remember(all.map((each) => each.logits)), best, masks: shapes, decode_ms };
}

/**
 * The masks of the photo and of the part around the object together; window: that part, or null where it would show no more.
 * One part serves all masks: that of the best one.
 */
async function lookCloser(emit, isStopped, photo, { prompt, scores, low, took, how }) {
  const { model, size, side } = photo, { clicks, box, ambiguous } = prompt, exact = photo.enlarger(size, side);
  const start = performance.now(), first = [inOrder(scores, low, side)];
  if (!ambiguous && photo.many > 1) {
    const more = await turn(() => model.decode(photo.held, size, [prompt.points], [prompt.labels], null, true));
    first.push(inOrder(more.scores, more.low, side));
  }
  let window = windowAround(size, box ? null : extentOf(first[0].logits[0], exact), clicks, box);
  const asked = window && inside(window, clicks, box);
  if (!asked?.points.length) window = null;
  const seen = [], within = window && [window[3] - window[1], window[2] - window[0]];
  if (window) {
    emit({ stage: "encoding", model: model.facts.name });
    const held = await encodedPart(photo, window, isStopped);
    if (isStopped()) return null;
    for (const i of first.keys()) {
      const { scores: others, low: near } = await turn(() => model.decode(held, within, [asked.points], [asked.labels], null, i > 0 || ambiguous));
      seen.push(inOrder(others, near, side));
    }
  }
  const decode_ms = took + ms(start);
  return turn(() => {
    const inner = window && enlargerOf(model, within, within, side), drawn = photo.enlarger(drawnSize(size), side);
    const masks = first.flatMap(({ scores: s, logits }, i) => logits.map((each, k) => (window
      ? { score: score(meanScore(s[k], seen[i].scores[k])), ...shapeOfBoth(each, exact, seen[i].logits[k], inner, window, how) }
      : { score: score(s[k]), ...shapeOf(each, exact, drawn, null, how) })));
    return { result: photo.remember(first.flatMap(({ logits }) => logits)), best: 0, masks, window, decode_ms };
  });
}

/** Encoder outputs of a part of the photo; the last are kept. */
async function encodedPart(photo, window, isStopped) {
  if (String(photo.closer?.window) === String(window)) return photo.closer.held;
  const picture = await openPicture(photo.blob, facts.about.limits, window);
  try {
    const held = await turn(() => (isStopped() ? null : photo.model.encode(picture.rows, picture.size)));
    if (held) photo.closer = { window, held };
    return held;
  } finally {
    picture.close();
  }
}

/** The low-res mask to refine, or null if it is no longer cached; then the clicks alone are used. */
const logitsToRefine = (photo, { result, mask }) => photo.results.get(result)?.[mask] ?? null;

onmessage = async ({ data: { n, call, args, stop } }) => {
  if (stop) return stopped.add(stop);
  try {
    const done = await calls[call]({ emit: (event) => postMessage({ n, event }), isStopped: () => stopped.has(n) }, ...args);
    postMessage({ n, done });
  } catch (e) {
    if (!(e instanceof Failure)) console.error(e);
    const failed = e instanceof Failure ? { status: e.status, text: e.message } : { status: 500, text: messageFor(e) };
    postMessage({ n, failed });
  } finally {
    stopped.delete(n);
  }
};

function messageFor(e) {
  const text = String(e?.message ?? e);
  if (/memory|allocat|out of bounds|bad_alloc/i.test(text)) return "this device has too little memory for the model; close other pages, or open a smaller photo";
  return "something went wrong while computing; reload the page";
}
