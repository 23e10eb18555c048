// From prompts to masks: previews under the pointer, and answers to prompts.
import { compute } from "./compute.js";
import { GONE } from "./failure.js";
import { Answers, Newest } from "./requests.js";
import * as state from "./state.js";
import { say } from "./ui.js";
import { toScreen } from "./view.js";

const HOVER_GAP = 30, HOVER_STEP = 3; // ms, pixels of the screen

export function startPrompting(app) {
  /** Set or drop the mask shown for a prompt until its answer is complete. */
  function early(rev, mask) {
    app.early = new Map(app.early);
    if (mask) app.early.set(rev, mask);
    else app.early.delete(rev);
  }

  const since = {}; // rev -> time of the pointer event
  app.prompt = (doc, time, foreseen) => {
    since[doc.revs] = time ?? performance.now();
    if (foreseen) early(doc.revs, foreseen);
    app.edit(doc);
  };

  /** Show the best mask of a prompt before the rest of its answer arrives. */
  function show(rev, { path, decode_ms }) {
    early(rev, { path });
    app.took({ decode: decode_ms });
    if (since[rev] !== undefined) app.measure("sam:click", since[rev]);
    delete since[rev];
    app.draw();
  }

  const previews = new Newest(async ({ x, y, time, photo }) => {
    try {
      const { tidy } = app.history.present, asked = { points: [[x, y]], labels: [1], ...(tidy == null ? {} : { tidy }) };
      const answer = await compute.preview(photo.id, asked);
      if (photo !== app.photo) return;
      const clicked = state.waiting(app.history.present).find((o) => state.isClick(o, x, y));
      if (clicked) return show(clicked.rev, answer); // clicked while the preview was computed
      if (!app.hovered) return;
      app.preview = answer.path ? { path: answer.path, at: [x, y] } : null;
      app.took({ decode: answer.decode_ms });
      app.measure("sam:hover", time);
      app.draw();
    } catch (e) {
      if (e.status === GONE) await app.sendAgain(photo).catch(() => {});
      // any other failed preview is simply not shown
    }
  }, HOVER_GAP);

  app.hover = (x, y, time) => {
    const o = state.selectedObject(app.history.present);
    if (!app.photo?.id || app.tool !== "add" || app.tab !== "objects" || state.hasPrompt(o) || o?.answer) return;
    const [sx, sy] = toScreen(app.view, x, y);
    if (app.hovered && Math.hypot(sx - app.hovered[0], sy - app.hovered[1]) < HOVER_STEP) return;
    app.hovered = [sx, sy];
    previews.push({ x: Math.round(x * 10) / 10, y: Math.round(y * 10) / 10, time, photo: app.photo });
  };
  app.holdPreview = () => previews.drop();
  app.dropPreview = () => {
    previews.drop();
    app.hovered = null;
    if (!app.preview) return;
    app.preview = null;
    app.draw();
  };

  const answers = new Answers(
    () => (app.photo?.id ? state.waiting(app.history.present) : []),
    async (o) => {
      const photo = app.photo;
      try {
        const answer = await app.withPhoto(() => compute.segment(app.photo.id, state.promptOf(o, app.history.present.tidy ?? null),
          (event) => event.stage === "shown" && photo === app.photo && show(o.rev, event)));
        await app.painted(); // paint the mask before updating the lists
        if (photo !== app.photo) return true;
        const { result, best, masks } = answer;
        app.history = state.settle(app.history, o.id, o.rev, { result, best, masks });
        app.changed();
        const mask = masks[best];
        say(mask.area ? `${state.nameOf(o)}: score ${mask.score.toFixed(2)}, ${masks.length} candidate masks` : "Nothing found here.");
        return true;
      } catch (e) {
        if (photo === app.photo) app.fail(e);
        return false;
      } finally {
        early(o.rev, null);
      }
    },
  );

  return answers;
}
