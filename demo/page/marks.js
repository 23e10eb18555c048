// The marks of a prompt, clicks and box corners, and how to move and remove them. Pure functions.
import { toScreen } from "./view.js";

const REACH = 11; // pixels of the screen

/** The mark at a screen position: {kind: "point", index}, {kind: "corner", index} (0 to 3, clockwise), or null. */
export function markAt(object, view, x, y, reach = REACH) {
  if (!object) return null;
  const near = (at) => {
    const [sx, sy] = toScreen(view, ...at);
    return Math.hypot(sx - x, sy - y) <= reach;
  };
  const index = object.points.findLastIndex((p) => near([p.x, p.y]));
  if (index >= 0) return { kind: "point", index };
  const corner = object.box ? cornersOf(object.box).findIndex(near) : -1;
  return corner >= 0 ? { kind: "corner", index: corner } : null;
}

const cornersOf = ([x0, y0, x1, y1]) => [[x0, y0], [x1, y0], [x1, y1], [x0, y1]];

/** The changed part of the object after moving a mark: {points} or {box}. */
export function moved(object, mark, [x, y]) {
  const at = [x, y].map((v) => Math.round(v * 10) / 10);
  if (mark.kind === "point") return { points: object.points.map((p, i) => (i === mark.index ? { ...p, x: at[0], y: at[1] } : p)) };
  const [ox, oy] = cornersOf(object.box)[(mark.index + 2) % 4]; // the opposite corner stays
  const box = [Math.min(ox, at[0]), Math.min(oy, at[1]), Math.max(ox, at[0]), Math.max(oy, at[1])];
  return { box: box[2] - box[0] >= 1 && box[3] - box[1] >= 1 ? box : object.box };
}

/** The changed part of the object after removing a mark. */
export function without(object, mark) {
  return mark.kind === "point" ? { points: object.points.filter((_, i) => i !== mark.index) } : { box: null };
}
