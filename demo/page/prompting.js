// From prompts to masks: previews under the pointer, and answers to prompts.
import { compute } from "./compute.js";
import { GONE } from "./failure.js";
import { notice, waitingFor } from "./notices.js";
import { Answers, Newest } from "./requests.js";
import * as state from "./state.js";
import { say, toast } from "./ui.js";
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

  const wanted = (zoom) => () => (app.photo?.id ? state.waiting(app.history.present).filter((o) => Boolean(o.zoom) === zoom) : []);

  async function answerTo(o, signal) {
    const photo = app.photo, busy = o.zoom ? notice(() => cancel(o)) : null;
    busy?.tell("Looking closer");
    const watch = (event) => {
      if (event.stage === "shown" && photo === app.photo) show(o.rev, event);
      else if (event.stage === "waiting" && event.ahead) busy?.tell(waitingFor(event.ahead));
      else busy?.tell("Looking closer");
    };
    try {
      const found = await app.withPhoto(() => compute.segment(app.photo.id, state.promptOf(o, app.history.present.tidy ?? null), watch, signal));
      await app.painted(); // paint the mask before updating the lists
      if (photo !== app.photo) return true;
      const { result, best, masks, window } = found;
      app.history = state.settle(app.history, o.id, o.rev, { result, best, masks, window });
      app.changed();
      const mask = masks[best];
      say(mask.area ? `${state.nameOf(o)}: score ${mask.score.toFixed(2)}, ${masks.length} candidate masks` : "Nothing found here.");
      if (o.zoom && !window) toast("This object already fills the photo, so a closer look shows no more.");
      return true;
    } catch (e) {
      if (photo === app.photo) app.fail(e);
      return e.name === "AbortError";
    } finally {
      early(o.rev, null);
      busy?.end();
    }
  }
  const cancel = (o) => app.go(state.cancelZoom(app.history, o.id));

  // A closer look takes as long as a photo, so that other prompts do not wait for it.
  const quick = new Answers(wanted(false), answerTo), slow = new Answers(wanted(true), answerTo, true);
  return {
    go: () => {
      quick.go();
      slow.go();
    },
    askAgain: () => [quick, slow].forEach((each) => each.failed.clear()),
  };
}
