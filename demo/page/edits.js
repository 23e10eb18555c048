// Edits of the objects: clicks, boxes, strokes, names.
import { markAt, moved, without } from "./marks.js";
import * as state from "./state.js";
import { say, toast } from "./ui.js";
import { into } from "./view.js";

export function startEdits(app) {
  app.click = (x, y, label, time) => {
    if (app.tab === "everything") {
      const hit = app.hit(app.found.shown, x, y);
      return hit && app.toggleFound(hit);
    }
    const doc = app.history.present, o = state.selectedObject(doc);
    const other = label && app.tool === "add" && !(o && !state.hasPrompt(o) && !o.answer) && otherObjectAt(doc, o, x, y);
    if (other) {
      app.touch(state.select(doc, other.id));
      return say(`${state.nameOf(other)} is selected.`);
    }
    if (!label && !(o && (o.points.some((p) => p.label) || o.box || o.strokes.length))) {
      return toast("First click on the object, then remove what does not belong to it.");
    }
    if (o && o.points.length >= (app.limits?.points ?? Infinity)) return toast("This object has the maximum number of clicks.");
    const at = [Math.round(x * 10) / 10, Math.round(y * 10) / 10];
    const foreseen = label && !state.hasPrompt(o) && !o?.answer && at.every((v, i) => v === app.preview?.at[i]);
    app.prompt(state.addPoint(doc, ...at, label), time, foreseen && app.preview);
  };
  /** Another visible object at a point outside the selected one, or null. */
  function otherObjectAt(doc, o, x, y) {
    const own = state.maskOf(o);
    if (own?.area && app.hit([own], x, y)) return null;
    const masks = new Map(doc.objects.filter((each) => each !== o && each.visible && state.maskOf(each)?.area).map((each) => [state.maskOf(each), each]));
    return masks.get(app.hit([...masks.keys()], x, y)) ?? null;
  }
  app.markAt = (x, y, reach) => {
    const o = state.selectedObject(app.history.present);
    return app.tab === "objects" && app.tool !== "brush" && app.tool !== "pan" && o?.visible ? markAt(o, app.view, x, y, reach) : null;
  };
  app.moveMark = (mark, at) => moved(state.selectedObject(app.history.present), mark, into(app.photo, ...at));
  app.setMarks = (parts, time) => app.prompt(state.setMarks(app.history.present, parts), time);
  app.removeMark = (mark) => {
    app.setMarks(without(state.selectedObject(app.history.present), mark));
    say(mark.kind === "point" ? "Click removed." : "Box removed.");
  };
  app.box = (box, time) => app.prompt(state.setBox(app.history.present, box), time);
  app.stroke = (stroke, time) => {
    if (state.selectedObject(app.history.present)?.zoom) toast("A painted mask cannot be looked at closer; undo to look closer again.");
    app.prompt(state.addStroke(app.history.present, thinned(stroke)), time);
  };
  app.lookCloser = (time) => {
    const doc = app.history.present, o = state.selectedObject(doc);
    if (!state.hasPrompt(o)) return toast("First click on an object, then look closer at it.");
    if (!state.canZoom(o)) return toast("A painted mask cannot be looked at closer; use clicks or a box.");
    app.prompt(state.setZoom(doc, o.id, !o.zoom), time);
    say(o.zoom ? `Closer look at ${state.nameOf(o)} is off.` : `Looking closer at ${state.nameOf(o)}.`);
  };
  app.newObject = () => {
    app.show("objects");
    app.edit(state.begin(app.history.present));
    say("New object. Click on it.");
  };
  app.clearSelected = () => app.edit(state.clear(app.history.present, app.history.present.selected));
  app.removeSelected = () => app.edit(state.remove(app.history.present, app.history.present.selected));
  app.hideSelected = () => {
    const o = state.selectedObject(app.history.present);
    if (o) app.touch(state.show(app.history.present, o.id, !o.visible));
  };
  app.nameSelected = () => {
    app.show("objects");
    document.querySelector(".object[aria-current=true] .name")?.select();
  };
  app.pen = (at, erase) => {
    if (app.penDown) {
      app.penDown = false;
      const { stroke } = app.draft;
      app.draft = null;
      return app.stroke(stroke);
    }
    app.penDown = true;
    app.draft = { stroke: { points: [at], radius: app.brush / 2 / app.view.scale, erase } };
    say("Brush down. Move it, and press Enter to lift it.");
    app.draw();
  };
  app.penTo = (at) => {
    app.draft = { stroke: { ...app.draft.stroke, points: [...app.draft.stroke.points, at] } };
  };
}

/** Drop points of a stroke that are too close together to matter. */
function thinned(stroke) {
  const points = [];
  for (const p of stroke.points) {
    const q = points.at(-1);
    if (!q || Math.hypot(p[0] - q[0], p[1] - q[1]) >= stroke.radius / 4) points.push(p);
  }
  return { ...stroke, points };
}
