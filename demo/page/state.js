// The document and its history: pure functions, immutable values.
//
// An object: {id, rev, name, color, visible, points: [{x, y, label}], box: [x0, y0, x1, y1] | null, strokes: [...],
//   refine: {result, mask} | null, answer: {result, masks, best} | null, chosen, origin: "prompt" | "found" | "file",
//   zoom: whether the part of the photo around it is encoded as well}
// Its rev changes with its prompt, so that an answer finds its prompt even after undo.

export const COLORS = ["#2e90ff", "#ff7a30", "#16be82", "#ec4899", "#9664ff", "#fabe14", "#0abed7", "#f04646", "#8cc828", "#be8250"];

export const emptyDocument = (tidy = null) => ({ objects: [], selected: null, made: 0, revs: 0, tidy });
export const newHistory = (tidy = null) => ({ past: [], present: emptyDocument(tidy), future: [] });

const MOST = 200;

/** Make a change that can be undone. */
export function change(history, next) {
  if (next === history.present) return history;
  return { past: [...history.past, history.present].slice(-MOST), present: next, future: [] };
}

/** Make a change that undo skips: selecting, hiding. */
export const touch = (history, next) => ({ ...history, present: next });

export function undo(history) {
  if (!history.past.length) return history;
  const past = history.past.slice(0, -1);
  return { past, present: history.past.at(-1), future: [history.present, ...history.future] };
}

export function redo(history) {
  if (!history.future.length) return history;
  const [present, ...future] = history.future;
  return { past: [...history.past, history.present], present, future };
}

/** Attach an answer to its prompt, wherever in the history that is. */
export function settle(history, id, rev, answer) {
  const fill = (doc) => {
    if (!doc.objects.some((o) => o.id === id && o.rev === rev && !o.answer)) return doc;
    const objects = doc.objects.map((o) => (o.id === id && o.rev === rev && !o.answer ? { ...o, answer, chosen: answer.masks[o.kept] ? o.kept : answer.best } : o));
    return { ...doc, objects };
  };
  return { past: history.past.map(fill), present: fill(history.present), future: history.future.map(fill) };
}

export const selectedObject = (doc) => doc.objects.find((o) => o.id === doc.selected) ?? null;
export const maskOf = (object) => object?.answer?.masks[object.chosen] ?? null;
export const hasPrompt = (o) => Boolean(o && (o.points.length || o.box || o.strokes.length));
/** Whether the prompt of an object is one click at (x, y) and nothing else. */
export const isClick = (o, x, y) =>
  o.points.length === 1 && o.points[0].label === 1 && o.points[0].x === x && o.points[0].y === y && !o.box && !o.strokes.length && !o.refine;
export const waiting = (doc) => doc.objects.filter((o) => hasPrompt(o) && !o.answer);
export const select = (doc, id) => (doc.selected === id ? doc : { ...doc, selected: id });

function blank(doc) {
  const made = doc.made + 1;
  const object = { id: made, rev: 0, name: "", color: COLORS[(made - 1) % COLORS.length], visible: true, points: [], box: null,
    strokes: [], refine: null, answer: null, chosen: 0, origin: "prompt", zoom: false };
  return [{ ...doc, made }, object];
}

/** Begin another object: select the empty one if there is one, else add one. */
export function begin(doc) {
  const empty = doc.objects.find((o) => !hasPrompt(o) && !o.answer);
  if (empty) return select(doc, empty.id);
  const [next, object] = blank(doc);
  return { ...next, objects: [...doc.objects, object], selected: object.id };
}

/** Change the prompt of the selected object, or of a new one. edit(object): returns the changed points, box or strokes. */
function prompted(doc, edit, refining) {
  const base = selectedObject(doc) ? doc : begin(doc);
  const revs = base.revs + 1;
  const objects = base.objects.map((o) => {
    if (o.id !== base.selected) return o;
    const refine = refining && o.answer?.result ? { result: o.answer.result, mask: o.chosen } : null;
    return { ...o, ...edit(o), rev: revs, refine, answer: null, chosen: 0, kept: null, visible: true, last: maskOf(o) ?? o.last ?? null };
  });
  return { ...base, revs, objects };
}

export const addPoint = (doc, x, y, label) => prompted(doc, (o) => ({ points: [...o.points, { x, y, label }] }), true);
export const setBox = (doc, box) => prompted(doc, () => ({ box }), false);
/** A painted mask cannot be looked at closer. */
export const addStroke = (doc, stroke) => prompted(doc, (o) => ({ strokes: [...o.strokes, stroke], zoom: false }), false);

/** Change the marks of the selected object; parts: as `marks.js` returns them. An object left without marks is cleared. */
export function setMarks(doc, parts) {
  const o = selectedObject(doc), next = { ...o, ...parts };
  return hasPrompt(next) && (next.box || next.strokes.length || next.points.some((p) => p.label)) ? prompted(doc, () => parts, false) : clear(doc, o.id);
}

/** Switch tidying. Masks from prompts are computed again, and the chosen candidate stays chosen. */
export function setTidy(doc, tidy) {
  let { revs } = doc;
  const objects = doc.objects.map((o) => (o.origin === "prompt" && hasPrompt(o) && o.answer
    ? { ...o, rev: ++revs, answer: null, kept: o.chosen, last: maskOf(o) } : o));
  return { ...doc, objects, revs, tidy };
}

/** Whether an object can be looked at closer. */
export const canZoom = (o) => hasPrompt(o) && !o.strokes.length;

/**
 * Look closer at an object, or no longer. The same candidate stays chosen: closer ones come best first. A mask that was found or
 * imported gets its box, as its click alone could select something else.
 */
export function setZoom(doc, id, zoom) {
  const target = doc.objects.find((o) => o.id === id);
  if (!canZoom(target) || target.zoom === zoom) return doc;
  const revs = doc.revs + 1, mask = maskOf(target), box = target.box ?? (target.answer?.masks.length === 1 && mask?.area ? around(mask.bbox) : null);
  const next = { zoom, box, rev: revs, answer: null, kept: zoom ? rankOf(target) : null, last: mask ?? target.last ?? null, visible: true };
  return { ...edited(doc, id, next), revs };
}

/** The place of the chosen mask among the answer's candidates, best first; the mask for a precise prompt stays before them. */
function rankOf({ answer, chosen }) {
  if (!(answer?.masks.length > 1)) return null;
  const from = answer.masks.length > 3 ? 1 : 0, candidates = answer.masks.map((_, i) => i).slice(from);
  const order = candidates.sort((a, b) => answer.masks[b].score - answer.masks[a].score || a - b);
  return chosen < from ? chosen : from + order.indexOf(chosen);
}

/** Cancel a closer look: take back the change that asked for it if it is the last, else look no closer. */
export function cancelZoom(history, id) {
  const now = history.present.objects.find((o) => o.id === id), before = history.past.at(-1)?.objects.find((o) => o.id === id);
  if (!now?.zoom) return history;
  if (before && !before.zoom && before.points === now.points && before.strokes === now.strokes) return { ...history, past: history.past.slice(0, -1), present: history.past.at(-1) };
  return change(history, setZoom(history.present, id, false));
}

/** Remove the prompt and the mask of an object; it keeps its name. */
export function clear(doc, id) {
  const target = doc.objects.find((o) => o.id === id);
  if (!target || (!hasPrompt(target) && !target.answer)) return doc;
  const revs = doc.revs + 1;
  const cleared = { points: [], box: null, strokes: [], refine: null, answer: null, chosen: 0, last: null, rev: revs, origin: "prompt", zoom: false };
  return { ...doc, revs, objects: doc.objects.map((o) => (o.id === id ? { ...o, ...cleared } : o)) };
}

export function remove(doc, id) {
  const at = doc.objects.findIndex((o) => o.id === id);
  if (at < 0) return doc;
  const objects = doc.objects.filter((o) => o.id !== id);
  const next = objects[Math.min(at, objects.length - 1)]?.id ?? null;
  return { ...doc, objects, selected: doc.selected === id ? next : doc.selected };
}

const edited = (doc, id, part) => ({ ...doc, objects: doc.objects.map((o) => (o.id === id ? { ...o, ...part } : o)) });
export const rename = (doc, id, name) => (doc.objects.find((o) => o.id === id)?.name === name ? doc : edited(doc, id, { name }));
export const show = (doc, id, visible) => edited(doc, id, { visible });

export function choose(doc, id, index) {
  const object = doc.objects.find((o) => o.id === id);
  if (!object?.answer || object.chosen === index || !object.answer.masks[index]) return doc;
  return edited(doc, id, { chosen: index });
}

/** Add objects with known masks, from everything mode, a file or text. */
export function addMasks(doc, masks, origin) {
  let next = doc;
  for (const mask of masks) {
    const [counted, object] = blank(next);
    const points = (mask.points ?? []).map(([x, y], i) => ({ x, y, label: mask.labels?.[i] ?? 1 }));
    const box = mask.box ?? (points.length || mask.key !== undefined ? null : around(mask.bbox));
    const made = { ...object, name: mask.name ?? "", points, box, zoom: mask.zoom ?? false, origin, key: mask.key, answer: { result: null, masks: [mask], best: 0 } };
    next = { ...counted, objects: [...next.objects.filter((o) => hasPrompt(o) || o.answer), made] };
  }
  return { ...next, selected: next.objects.at(-1)?.id ?? null };
}

/** The masks that no object of the same name has yet. */
export function newOnes(doc, masks) {
  const keyOf = (name, mask) => `${name}\n${mask.rle.counts}`;
  const there = new Set(doc.objects.filter(maskOf).map((o) => keyOf(o.name, maskOf(o))));
  return masks.filter((mask) => {
    const key = keyOf(mask.name ?? "", mask), isNew = !there.has(key);
    there.add(key);
    return isNew;
  });
}

const around = ([x, y, w, h]) => [x, y, x + w, y + h];

/** The prompt of an object as `compute.js` takes it. */
export function promptOf(o, tidy = null) {
  const prompt = {};
  if (o.points.length) {
    prompt.points = o.points.map((p) => [p.x, p.y]);
    prompt.labels = o.points.map((p) => p.label);
  }
  if (o.box) prompt.box = o.box;
  if (o.strokes.length) prompt.strokes = o.strokes;
  if (o.zoom) prompt.zoom = true;
  else if (o.refine) prompt.refine = o.refine;
  if (tidy !== null) prompt.tidy = tidy;
  return prompt;
}

export const nameOf = (o) => o.name || `Object ${o.id}`;
