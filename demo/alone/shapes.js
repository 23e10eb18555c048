// Masks in the form that the page takes: {rle, area, bbox, path}.
import { pathOf, pathOfMask } from "./outline.js";
import { factsOfRuns, factsOfWindow, Runs } from "./rle.js";
import { tidyRuns, tidyValues } from "./tidying.js";

const PLAIN = { share: 0 };

/** The outline of low-res logits. drawn: `Enlarger` to the drawn size; how: see `tidyColumns`, in pixels of the photo */
export function outlineOf(logits, drawn, size, how = PLAIN) {
  const window = drawn.window(logits, 0);
  if (!window) return "";
  const around = drawn.grown(window, 1); // the outline needs the pixels next to the mask
  const values = drawn.values(logits, around);
  if (how.share) {
    const scale = Math.max(...drawn.size) / Math.max(...size);
    tidyValues(values, around, drawn.size, { ...how, points: how.points?.map((at) => at.map((v) => v * scale)) });
  }
  return pathOf(values, around, drawn.size, size);
}

/** The shape of low-res logits. exact, drawn: `Enlarger`s to the photo's and to the drawn size */
export function shapeOf(logits, exact, drawn, path = null, how = PLAIN) {
  const runs = new Runs(exact.size), window = exact.window(logits, 0);
  if (window) exact.eachColumn(logits, window, (column, x) => runs.column(column, x, window.top));
  const whole = runs.whole(), tidied = how.share ? tidyRuns(whole, exact.size, how) : whole;
  const facts = tidied === whole ? runs.done() : factsOfRuns(tidied, exact.size);
  return { ...facts, path: facts.area ? (path ?? outlineOf(logits, drawn, exact.size, how)) : "" };
}

/** The shape of a binary mask: a window of pixels, or null if empty. */
export function shapeOfMask(mask, size) {
  if (!mask) return { ...new Runs(size).done(), path: "" };
  return { ...factsOfWindow(mask, size), path: pathOfMask(mask, size) };
}
