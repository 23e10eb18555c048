// Entry point: the shared `app`, its changes, and when it is drawn.
import { compute } from "./compute.js";
import { Drawing } from "./draw.js";
import { startEdits } from "./edits.js";
import { startEverything } from "./everything.js";
import { Failure } from "./failure.js";
import { startFiles } from "./files.js";
import { listenToKeys } from "./keys.js";
import { optionOf, wordsAbout } from "./models.js";
import { startNotices } from "./notices.js";
import { startObjects } from "./objects.js";
import { startPhoto } from "./photo.js";
import { listenToPointers } from "./pointer.js";
import { startPictures } from "./pictures.js";
import { startPrompting } from "./prompting.js";
import * as state from "./state.js";
import { startStrip } from "./strip.js";
import { startTools } from "./tools.js";
import { $, remembered, say, startTheme, toast } from "./ui.js";
import { fit } from "./view.js";
import { startWords } from "./words.js";

const app = {
  history: state.newHistory(),
  photo: null, // {bitmap, width, height, name, blob, id, model}
  view: { scale: 1, x: 0, y: 0 },
  tool: "add", tab: "objects", opacity: 0.42, brush: 18,
  preview: null, early: new Map(), hovered: null, pointer: null, cursor: null, draft: null, penDown: false,
  found: { masks: null, shown: [], lit: null },
  say, limits: null,
};
window.samHub = app; // for the console and the tests

const canvas = $("canvas"), drawing = new Drawing($("photo"), $("overlay"));
app.stage = () => drawing.size;
app.resize = () => drawing.resize(canvas.getBoundingClientRect());
app.hit = (masks, x, y) => drawing.hit(masks, x, y);

let frame = 0, photoToo = false;
const measures = []; // performance measures that end with the next frame: [name, start]
app.measure = (...measure) => measures.push(measure);
app.draw = () => {
  frame ||= requestAnimationFrame(() => {
    frame = 0;
    if (photoToo) drawing.drawPhoto(app);
    photoToo = false;
    drawing.drawOver(app);
    for (const [name, start] of measures.splice(0)) {
      setTimeout(() => performance.measure(name, { start, end: performance.now() })); // after this frame
    }
  });
};
/** Resolves after the next frame, or after 100 ms in a hidden page. */
app.painted = () => new Promise((done) => {
  setTimeout(done, 100);
  requestAnimationFrame(() => setTimeout(done));
});
app.redraw = () => {
  photoToo = true;
  $("zoom-now").textContent = `${Math.round(app.view.scale * 100)}%`;
  app.draw();
};
app.fit = () => {
  app.view = fit(app.photo, app.stage());
  app.redraw();
};
new ResizeObserver(() => {
  const box = canvas.getBoundingClientRect(), before = app.photo && fit(app.photo, app.stage());
  if (!drawing.resize(box)) return;
  if (app.photo && before?.scale === app.view.scale) app.fit(); // it was fitted; keep it fitted
  app.redraw();
}).observe(canvas);
app.nextColor = () => {
  const doc = app.history.present, selected = state.selectedObject(doc);
  return selected ? selected.color : state.COLORS[doc.made % state.COLORS.length];
};

app.changed = () => {
  answers.go(); // first, because it takes longest
  refreshObjects();
  everything.refresh();
  const { past, future, present } = app.history, o = state.selectedObject(present);
  $("undo").disabled = !past.length;
  $("redo").disabled = !future.length;
  $("clear").disabled = !(state.hasPrompt(o) || o?.answer);
  $("tidy").checked = app.isTidy();
  $("hint").textContent = app.hint(o);
  app.draw();
  app.keepSoon?.();
};
const move = (history) => {
  if (history === app.history) return;
  app.history = history;
  app.dropPreview();
  app.changed();
};
app.go = move;
app.edit = (doc) => move(state.change(app.history, doc));
app.touch = (doc) => move(doc === app.history.present ? app.history : state.touch(app.history, doc));
app.undo = () => move(state.undo(app.history));
app.redo = () => move(state.redo(app.history));

app.fail = (e) => {
  if (e.name === "AbortError") return;
  if (!(e instanceof Failure)) console.error(e);
  const text = e instanceof Failure ? e.message : "something went wrong on this page; reload it";
  toast(text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : "."), "error");
};

startTheme($("theme"));
startNotices();
startEdits(app);
startTools(app);
startPhoto(app);
startFiles(app);
startPictures(app);
const answers = startPrompting(app), refreshObjects = startObjects(app), everything = startEverything(app);
Object.assign(app, {
  askAgain: answers.askAgain, searchEverything: everything.search, forgetFound: everything.forget,
  lightFound: everything.lit, toggleFound: everything.toggle, cursorShape: listenToPointers(canvas, app),
});
listenToKeys(canvas, app);

try {
  const about = await compute.about();
  app.limits = about.limits;
  app.models = Object.fromEntries(about.models.map((m) => [m.name, m]));
  app.defaultModel = about.default;
  $("model").replaceChildren(...about.models.map(optionOf));
  const last = app.models[remembered("model")];
  $("model").value = last && last.here !== false ? last.name : about.default; // never start a download without asking
  $("model").title = wordsAbout(app.models[$("model").value]);
  $("about").textContent = `sam-hub ${about.version}. ${about.privacy} Open photos and their objects are kept in this browser until you close them.`;
  everything.offerPresets(about.searches);
  if (about.words) startWords(app);
  if (!about.project) startStrip(app); // a project stores its photos itself
  if (about.project) (await import("./project.js")).startProject(app, about.project);
  app.ready = true;
} catch (e) {
  app.fail(e);
}
