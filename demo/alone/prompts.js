// The page's prompt -> decoder inputs: {points, labels, mask, ambiguous, refine, tidied, clicks, box}; tidied, clicks: those
// without the box.
import { Failure } from "../page/failure.js";
import { boxOf, maskPrompt, paint } from "./painting.js";

/** prompt: {points, labels, box, strokes, refine, zoom}, in pixels of the photo; kinds: prompt kinds of the model */
export function readPrompt(prompt, size, kinds, side) {
  const { labels: given = [], strokes = [] } = prompt, points = [...(prompt.points ?? [])], labels = [...given];
  let { box = null } = prompt, rough = null;
  if (strokes.length) {
    rough = paint(strokes, size);
    if (!rough && !points.length && !box) throw new Failure(400, "nothing is painted; paint over the object");
    if (rough && !points.length && !box) box = boxOf(rough, size);
  }
  if (box && !kinds.includes("boxes")) throw new Failure(400, "this model takes only clicks; click on the object");
  if (prompt.zoom && (strokes.length || prompt.refine)) throw new Failure(400, "zoom needs points or a box, not a painted or an earlier mask; omit strokes and refine, or zoom");
  const count = points.length, clicks = { points: [...points], labels: [...labels] };
  if (box) {
    points.push([box[0], box[1]], [box[2], box[3]]);
    labels.push(2, 3);
  }
  if (!points.length) throw new Failure(400, "the prompt is empty; click on the object, draw a box around it or paint over it");
  const takesMasks = kinds.includes("masks"), refine = takesMasks ? (prompt.refine ?? null) : null;
  const tidied = { points: clicks.points.map(([x, y]) => [Math.min(x, size[1] - 0.5), Math.min(y, size[0] - 0.5)]), labels: clicks.labels };
  const mask = rough && takesMasks ? maskPrompt(rough, side) : null;
  return { points, labels, refine, tidied, clicks, box, mask, ambiguous: !box && !rough && !prompt.refine && count === 1 };
}
