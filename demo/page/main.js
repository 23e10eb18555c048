// The wiring: one `app` that the parts share, what they do to it, and when it is drawn.
import { Answers, Newest } from "./asking.js";
import { Drawing } from "./draw.js";
import { startEverything } from "./everything.js";
import { decodePhoto, startFiles } from "./files.js";
import { KEYS, listenToKeys } from "./keys.js";
import { ask, ServerError, upload, follow } from "./net.js";
import { startObjects } from "./objects.js";
import { listenToPointers } from "./pointer.js";
import * as state from "./state.js";
import { $, make, remember, remembered, roving, say, startTheme, toast } from "./ui.js";
import { fit, keep, toScreen, zoom } from "./view.js";

const HOVER_GAP = 30, HOVER_STEP = 3; // ms, pixels of the screen
const GONE = 410;

const app = {
  history: state.newHistory(),
  photo: null, // {bitmap, width, height, name, blob, id, model}
  view: { scale: 1, x: 0, y: 0 },
  tool: "add", tab: "objects", opacity: 0.42, brush: 18,
  preview: null, early: new Map(), hovered: null, pointer: null, cursor: null, draft: null, penDown: false,
  found: { masks: null, shown: [], lit: null },
  say, limits: null,
};
window.samHub = app; // for people who look under the hood, and for the tests

const canvas = $("canvas"), drawing = new Drawing($("photo"), $("overlay"));
app.stage = () => drawing.size;

// ---------------------------------------------------------------- drawing

let frame = 0, photoToo = false;
const painted = []; // what waits to be seen: [name, since]
app.draw = () => {
  frame ||= requestAnimationFrame(() => {
    frame = 0;
    if (photoToo) drawing.drawPhoto(app);
    photoToo = false;
    drawing.drawOver(app);
    for (const [name, start] of painted.splice(0)) {
      setTimeout(() => performance.measure(name, { start, end: performance.now() })); // after this frame
    }
  });
};
/** Once what was drawn is seen; in a page that nobody sees, soon. */
const afterPaint = () => new Promise((done) => {
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
  if (app.photo && before?.scale === app.view.scale) app.fit(); // it was fitted, and stays so
  app.redraw();
}).observe(canvas);
app.nextColor = () => {
  const doc = app.history.present, selected = state.selectedObject(doc);
  return selected ? selected.color : state.COLORS[doc.made % state.COLORS.length];
};

// ---------------------------------------------------------------- the document

function changed() {
  answers.go(); // first of all: it takes longest
  refreshObjects();
  everything.refresh();
  const { past, future, present } = app.history, o = state.selectedObject(present);
  $("undo").disabled = !past.length;
  $("redo").disabled = !future.length;
  $("clear").disabled = !(state.hasPrompt(o) || o?.answer);
  $("hint").textContent = hint(o);
  app.draw();
}
const move = (history) => {
  if (history === app.history) return;
  app.history = history;
  app.dropPreview();
  changed();
};
app.edit = (doc) => move(state.change(app.history, doc));
app.touch = (doc) => move(doc === app.history.present ? app.history : state.touch(app.history, doc));
app.undo = () => move(state.undo(app.history));
app.redo = () => move(state.redo(app.history));

/** What is shown for a prompt until all of its masks are there. */
function early(rev, mask) {
  app.early = new Map(app.early);
  if (mask) app.early.set(rev, mask);
  else app.early.delete(rev);
}

const since = {}; // rev -> when the pointer asked for it
function prompt(doc, time, foreseen) {
  since[doc.revs] = time ?? performance.now();
  if (foreseen) early(doc.revs, foreseen);
  app.edit(doc);
}
app.click = (x, y, label, time) => {
  if (app.tab === "everything") {
    const hit = drawing.hit(app.found.shown, x, y);
    return hit && everything.toggle(hit);
  }
  const doc = app.history.present, o = state.selectedObject(doc);
  if (!label && !(o && (o.points.some((p) => p.label) || o.box || o.strokes.length))) {
    return toast("First click on the object; then take away what does not belong to it.");
  }
  if (o && o.points.length >= (app.limits?.points ?? Infinity)) return toast("These are as many clicks as one object can have.");
  const at = [Math.round(x * 10) / 10, Math.round(y * 10) / 10];
  const foreseen = label && !state.hasPrompt(o) && !o?.answer && at.every((v, i) => v === app.preview?.at[i]);
  prompt(state.addPoint(doc, ...at, label), time, foreseen && app.preview);
};
app.box = (box, time) => prompt(state.setBox(app.history.present, box), time);
app.stroke = (stroke, time) => prompt(state.addStroke(app.history.present, thin(stroke)), time);
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

/** Leave out points of a stroke that say nothing. */
function thin(stroke) {
  const points = [];
  for (const p of stroke.points) {
    const q = points.at(-1);
    if (!q || Math.hypot(p[0] - q[0], p[1] - q[1]) >= stroke.radius / 4) points.push(p);
  }
  return { ...stroke, points };
}
app.pen = (at, erase) => {
  if (app.penDown) {
    app.penDown = false;
    const { stroke } = app.draft;
    app.draft = null;
    return app.stroke(stroke);
  }
  app.penDown = true;
  app.draft = { stroke: { points: [at], radius: app.brush / 2 / app.view.scale, erase } };
  say("Brush down. Move, and press Enter to lift it.");
  app.draw();
};
app.penTo = (at) => {
  app.draft = { stroke: { ...app.draft.stroke, points: [...app.draft.stroke.points, at] } };
};

// ---------------------------------------------------------------- asking the server

/** The mask of a prompt; the rest of its answer is on the way. */
function show(rev, { path, decode_ms }) {
  early(rev, { path });
  took({ decode: decode_ms });
  if (since[rev] !== undefined) painted.push(["sam:click", since[rev]]);
  delete since[rev];
  app.draw();
}

const previews = new Newest(async ({ x, y, time, photo }) => {
  try {
    const answer = await ask("segment", { id: photo.id, prompt: { points: [[x, y]], labels: [1] }, preview: true });
    if (photo !== app.photo) return;
    const clicked = state.waiting(app.history.present).find((o) => state.isClick(o, x, y));
    if (clicked) return show(clicked.rev, answer); // meanwhile
    if (!app.hovered) return;
    app.preview = answer.path ? { path: answer.path, at: [x, y] } : null;
    took({ decode: answer.decode_ms });
    painted.push(["sam:hover", time]);
    app.draw();
  } catch (e) {
    if (e.status === GONE) await again(photo).catch(() => {});
    // otherwise a preview that fails is none
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
      const answer = await app.withPhoto(() => follow("segment", { id: app.photo.id, prompt: state.promptOf(o) },
        (event) => event.stage === "shown" && photo === app.photo && show(o.rev, event)));
      await afterPaint(); // lists can wait
      if (photo !== app.photo) return true;
      const { result, best, masks } = answer;
      app.history = state.settle(app.history, o.id, o.rev, { result, best, masks });
      changed();
      const mask = masks[best];
      say(mask.area ? `${state.nameOf(o)}: score ${mask.score.toFixed(2)}, ${masks.length} masks to choose from` : "Nothing found here.");
      return true;
    } catch (e) {
      if (photo === app.photo) app.fail(e);
      return false;
    } finally {
      early(o.rev, null);
    }
  },
);

/** Do what needs the photo on the server; where it is there no more, send it again, once. */
app.withPhoto = async (work) => {
  try {
    return await work();
  } catch (e) {
    if (e.status !== GONE) throw e;
    await again(app.photo);
    return work();
  }
};
let sending = null;
const again = (photo) => (sending ??= encode(photo, photo.model).finally(() => (sending = null)));

app.fail = (e) => {
  if (e.name === "AbortError") return;
  if (!(e instanceof ServerError)) console.error(e);
  const text = e instanceof ServerError ? e.message : "something went wrong on this page; reload it";
  toast(text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : "."), "error");
};

const times = {};
function took(part) {
  Object.assign(times, part);
  const parts = [times.encode && `photo ${Math.round(times.encode)} ms`, times.decode && `mask ${Math.round(times.decode)} ms`];
  $("facts").textContent = [app.photo?.device, ...parts].filter(Boolean).join("  ·  ");
  $("facts").hidden = false;
}

// ---------------------------------------------------------------- opening a photo

let opening = null; // AbortController
app.open = async (blob, name) => {
  if (app.limits && blob.size > app.limits.upload_bytes) {
    return toast(`The photo is larger than ${app.limits.upload_bytes >> 20} MB; save it smaller.`, "error");
  }
  opening?.abort();
  const mine = (opening = new AbortController());
  const photo = { blob, name, bitmap: null, id: null, model: $("model").value };
  const encoded = encode(photo, photo.model, mine.signal); // on its way while the browser reads the photo itself
  encoded.catch(() => {}); // told below
  const bitmap = await decodePhoto(blob);
  if (mine.signal.aborted) return;
  if (bitmap) {
    Object.assign(photo, { bitmap, width: bitmap.width, height: bitmap.height });
    place(photo);
  }
  try {
    await encoded;
    if (!bitmap) { // the browser cannot read it; the server can
      photo.bitmap = await createImageBitmap(await (await fetch(`sam/photo/${photo.id}`)).blob());
      place(photo);
    }
    changed();
  } catch (e) {
    app.fail(e);
    if (app.photo === photo && e.name !== "AbortError") close();
  }
};

function place(photo) {
  app.photo = photo;
  app.history = state.newHistory();
  app.early = new Map();
  app.cursor = app.draft = null;
  app.penDown = false;
  everything.forget();
  for (const id of ["tools", "below", "panel"]) $(id).hidden = false;
  $("empty").hidden = true;
  $("photo-name").textContent = photo.name;
  document.title = `${photo.name} · sam-hub`;
  drawing.resize(canvas.getBoundingClientRect());
  app.fit();
  changed();
  if (photo.id) took({});
  canvas.focus({ preventScroll: true });
}

function close() {
  app.photo = null;
  app.history = state.newHistory();
  for (const id of ["tools", "below", "panel"]) $(id).hidden = true;
  $("empty").hidden = false;
  $("photo-name").textContent = "Open a photo";
  app.redraw();
}

const STAGES = { sending: "Sending the photo", reading: "Reading the photo", loading: "Loading the model",
  encoding: "Looking at the photo" };

/** Encode a photo, or one that the server has with another model. */
async function encode(photo, model, signal) {
  busy("sending");
  const watch = (event) => {
    if (event.stage === "waiting" && event.ahead) busy("waiting", `Waiting for ${event.ahead} other${event.ahead > 1 ? "s" : ""}`);
    else if (STAGES[event.stage]) busy(event.stage, event.note ?? STAGES[event.stage], event.of ? event.done / event.of : undefined);
  };
  try {
    let done = null;
    if (photo.id && photo.model !== model) {
      done = await follow("again", { id: photo.id, model }, watch, signal).catch((e) => {
        if (e.status !== GONE) throw e;
        return null;
      });
    }
    done ??= await upload(photo.blob, model, watch, signal);
    Object.assign(photo, { id: done.id, model: done.model, device: done.device, width: done.width, height: done.height });
    answers.failed.clear();
    times.decode = 0;
    took({ encode: done.encode_ms });
    say("The photo is ready.");
    $("hint").textContent = hint(state.selectedObject(app.history.present));
  } finally {
    $("busy").hidden = true;
    clearTimeout(later);
  }
}

let later = 0;
function busy(stage, text = STAGES[stage], share) {
  $("busy-text").textContent = text;
  if (share === undefined || share >= 1) $("busy-bar").removeAttribute("value");
  else $("busy-bar").value = share;
  if (!$("busy").hidden) return;
  clearTimeout(later);
  later = setTimeout(() => ($("busy").hidden = false), 150); // what is quicker needs no notice
}

$("model").addEventListener("change", async () => {
  const model = $("model").value, photo = app.photo;
  remember("model", model);
  $("model").title = `${model}: ${app.models[model]?.good_for ?? ""}`;
  if (!photo?.id || photo.model === model) return;
  try {
    await encode(photo, model);
    everything.forget();
    changed();
  } catch (e) {
    app.fail(e);
    $("model").value = photo.model;
  }
});

// ---------------------------------------------------------------- tools and tabs

const HINTS = {
  add: "Click on an object, or drag a box around it", remove: "Click on what does not belong to the object", box: "Drag a box around an object",
  brush: "Paint roughly over an object; Shift or right button erases", pan: "Drag to move the photo, turn the wheel to zoom",
};
function hint(o) {
  if (!app.photo) return "";
  if (!app.photo.id) return "You may click already; the answer comes when the photo is ready";
  if (app.tab === "everything") return app.found.masks ? "Click on a mask to add it to the objects" : "Find everything in the photo, then choose";
  if (app.tool === "add" && (state.hasPrompt(o) || o?.answer)) return "Click adds, right click takes away";
  return HINTS[app.tool];
}
app.use = (tool) => {
  app.tool = tool;
  for (const b of $("tools").querySelectorAll("[data-tool]")) b.setAttribute("aria-pressed", String(b.dataset.tool === tool));
  $("brush-size").hidden = tool !== "brush";
  if (app.tab === "everything" && tool !== "pan") app.show("objects");
  app.dropPreview();
  app.draft = null;
  app.penDown = false;
  $("hint").textContent = hint(state.selectedObject(app.history.present));
  cursor();
  app.draw();
};
app.show = (tab) => {
  if (app.tab === tab) return;
  app.tab = tab;
  for (const name of ["objects", "everything"]) {
    $(`tab-${name}`).setAttribute("aria-selected", String(name === tab));
    $(`tab-${name}`).tabIndex = name === tab ? 0 : -1;
    $(`pane-${name}`).hidden = name !== tab;
  }
  app.dropPreview();
  app.found.lit = null;
  cursor();
  changed();
};
app.light = (at) => {
  if (app.tab !== "everything" || !app.found.masks) return;
  const hit = at && drawing.hit(app.found.shown, ...at);
  everything.lit(hit);
  if (hit) document.querySelector(".found .lit")?.scrollIntoView({ block: "nearest" });
};
app.searchEverything = () => everything.search();
app.tint = (value) => {
  app.opacity = Math.min(1, Math.max(0, value));
  $("opacity").value = Math.round(app.opacity * 100);
  app.draw();
};
app.help = () => $("help-dialog").showModal();

for (const b of $("tools").querySelectorAll("[data-tool]")) b.addEventListener("click", () => app.use(b.dataset.tool));
roving($("tools"), "button");
roving(document.querySelector(".tabs"), "button");
for (const name of ["objects", "everything"]) $(`tab-${name}`).addEventListener("click", () => app.show(name));
$("undo").addEventListener("click", app.undo);
$("redo").addEventListener("click", app.redo);
$("clear").addEventListener("click", app.clearSelected);
$("new-object").addEventListener("click", app.newObject);
$("opacity").addEventListener("input", (e) => app.tint(e.target.value / 100));
$("brush").addEventListener("input", (e) => {
  app.brush = Number(e.target.value);
  app.draw();
});
const zoomBy = (factor) => {
  app.view = keep(zoom(app.view, factor, app.stage().width / 2, app.stage().height / 2), app.photo, app.stage());
  app.redraw();
};
$("zoom-in").addEventListener("click", () => zoomBy(1.25));
$("zoom-out").addEventListener("click", () => zoomBy(0.8));
$("zoom-fit").addEventListener("click", app.fit);
$("help").addEventListener("click", app.help);
$("keys").append(...KEYS.flatMap(([keys, meaning]) => [
  make("kbd", {}, ...keys.split(" ").map((k) => make("b", {}, k))), make("span", {}, meaning),
]));

startTheme($("theme"));
startFiles(app);
const refreshObjects = startObjects(app), everything = startEverything(app);
const cursor = listenToPointers(canvas, app);
listenToKeys(canvas, app);

// ---------------------------------------------------------------- what the server offers

try {
  const about = await ask("about");
  app.limits = about.limits;
  app.models = Object.fromEntries(about.models.map((m) => [m.name, m]));
  $("model").replaceChildren(...about.models.map((m) => make("option", { value: m.name }, m.params ? `${m.name}  (${Math.round(m.params / 1e6)} M)` : m.name)));
  $("model").value = app.models[remembered("model")] ? remembered("model") : about.default;
  $("about").textContent = `sam-hub ${about.version}. Photos stay in the server's memory for a while and are never written to disk.`;
  everything.offerPresets(about.searches);
  app.ready = true;
} catch (e) {
  app.fail(e);
}
