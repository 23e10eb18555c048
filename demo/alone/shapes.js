// Masks as the page gets them: {rle, area, bbox, path}.
import { pathOf, pathOfMask } from "./outline.js";
import { factsOfWindow, Runs } from "./rle.js";

/** The outline of low-res logits; drawn: an `Enlarger` to the size for drawing. */
export function outlineOf(logits, drawn, size) {
  const window = drawn.window(logits, 0);
  if (!window) return "";
  const around = drawn.grown(window, 1); // the outline runs between the mask and the pixels around it
  return pathOf(drawn.values(logits, around), around, drawn.size, size);
}

/** exact, drawn: `Enlarger`s to the photo and to the size for drawing */
export function shapeOf(logits, exact, drawn, path = null) {
  const runs = new Runs(exact.size), window = exact.window(logits, 0);
  if (window) exact.eachColumn(logits, window, (column, x) => runs.column(column, x, window.top));
  const facts = runs.done();
  return { ...facts, path: facts.area ? (path ?? outlineOf(logits, drawn, exact.size)) : "" };
}

/** A window of pixels, or null for an empty mask. */
export function shapeOfMask(mask, size) {
  if (!mask) return { ...new Runs(size).done(), path: "" };
  return { ...factsOfWindow(mask, size), path: pathOfMask(mask, size) };
}
