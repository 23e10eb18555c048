// Project mode: labels the photos of a data engine project one after another. Every mask is saved at once.
import { Outbox } from "./outbox.js";
import { ask } from "./server.js";
import * as state from "./state.js";
import { $, make, say, toast } from "./ui.js";

const SIGN_OF_LIFE = 30000, TICK = 250; // ms
const KEYS = [["Y", "accept the proposed mask"], ["D", "done: next photo"], ["K", "skip the photo"], ["U", "previous photo"]];

export function startProject(app, project) {
  const holder = stored(sessionStorage, "holder") ?? keep(sessionStorage, "holder", hex(16));
  let photo = null; // {id, name, width, height}
  let sent = new Map(); // id in the document -> {object, state, mask, name} as saved or queued
  let efforts = new Map(); // id in the document -> {revs, clicks, seconds} spent on it
  let pending = 0; // seconds before the first click on an object
  let semi = false, moving = false;

  const outbox = new Outbox({
    name: project.name, send: async (item) => updateCounts((await ask("project/save", { ...item, holder })).counts),
    changed: () => (updateNote(), app.changed()), refused: (e) => app.fail(e),
  });
  const parts = build();
  app.project = { outbox, sent: () => sent };

  // What is saved follows the document: every change, undo and redo included, is saved.
  const changed = app.changed;
  app.changed = () => {
    sync();
    changed();
    updateProposals();
  };
  app.noteOf = (o) => (isProposal(o) ? "proposed" : !sent.has(o.id) ? "" : outbox.has(sent.get(o.id).object) ? "not saved yet" : "saved");
  const isProposal = (o) => o.origin === "proposal" && o.rev === 0;
  const proposals = () => app.history.present.objects.filter((o) => isProposal(o) && state.maskOf(o));

  function sync() {
    if (!photo || moving) return;
    const { objects } = app.history.present;
    for (const o of objects) {
      const mask = state.maskOf(o), before = sent.get(o.id);
      count(o);
      if (state.hasPrompt(o) && !o.answer) continue; // its mask is not computed yet
      if (mask?.area) put(o.id, isProposal(o) ? "proposed" : "accepted", mask, o);
      else if (before && before.state !== "removed") put(o.id, "removed", before.mask, o);
    }
    for (const [id, { state: earlier, mask, name }] of sent) {
      if (earlier !== "removed" && !objects.some((o) => o.id === id)) put(id, "removed", mask, { name });
    }
  }

  function put(id, next, mask, o) {
    const before = sent.get(id);
    if (before && before.state === next && before.mask === mask && before.name === (o.name ?? "")) return;
    const object = before?.object ?? hex(12), { clicks, seconds } = effort(id);
    sent.set(id, { object, state: next, mask, name: o.name ?? "" });
    outbox.put({ request: hex(12), photo: photo.id, object, state: next, rle: mask.rle, name: o.name ?? "", semi,
      prompts: o.points ? state.promptOf({ ...o, refine: null }) : {}, score: mask.score ?? null, clicks, seconds: Math.round(seconds * 10) / 10 });
  }

  function effort(id) {
    if (!efforts.has(id)) efforts.set(id, { revs: new Set(), clicks: 0, seconds: 0 });
    return efforts.get(id);
  }
  function count(o) {
    const spent = effort(o.id);
    if (!o.rev || spent.revs.has(o.rev)) return;
    if (!spent.clicks && !spent.seconds) [spent.seconds, pending] = [pending, 0];
    spent.revs.add(o.rev);
    spent.clicks++;
  }

  setInterval(() => {
    if (!photo || document.hidden || moving) return;
    const o = state.selectedObject(app.history.present);
    if (o && (state.hasPrompt(o) || o.answer)) effort(o.id).seconds += TICK / 1000;
    else pending += TICK / 1000;
    updateNote();
  }, TICK);
  setInterval(() => photo && !moving && ask("project/keep", { holder, photo: photo.id }).then(reached, (e) => lost(e)), SIGN_OF_LIFE);

  let away = false;
  function reached() {
    if (away) outbox.hurry();
    away = false;
    updateNote();
  }
  function lost(e) {
    if (e.status === 409) return leavePhoto(e);
    away = e.status === 0;
    updateNote();
  }
  function leavePhoto(e) {
    app.fail(e);
    go(() => ask("project/next", { holder }));
  }

  /** Show the photo in the server's answer. */
  async function go(asked) {
    moving = true;
    parts.card.hidden = true;
    $("no-objects").classList.remove("finished");
    parts.next.disabled = parts.skip.disabled = true;
    try {
      const answer = await asked();
      updateCounts(answer.counts);
      if (answer.photo) await show(answer);
      else showFinished();
      reached();
    } catch (e) {
      app.fail(e);
      lost(e);
    } finally {
      moving = false;
      parts.next.disabled = parts.skip.disabled = !photo;
    }
  }

  async function show({ photo: next, objects, model }) {
    const before = photo && { ...app.view, width: photo.width, height: photo.height };
    const data = await fetch(`sam/project/photo/${next.id}`);
    if (!data.ok) throw new Error(`photo ${next.id}`);
    offer(model);
    photo = null;
    app.placed = () => fill(next, objects, before);
    await open(await data.blob(), next.name);
    photo ??= next; // a photo that cannot be shown can still be skipped
  }

  function fill(next, objects, before) {
    app.placed = null;
    [sent, efforts, pending] = [new Map(), new Map(), 0];
    let doc = state.addMasks(state.emptyDocument(), objects, "kept");
    doc = { ...doc, selected: null, objects: doc.objects.map((o, i) => ({ ...o, origin: objects[i].state === "proposed" ? "proposal" : "kept" })) };
    doc.objects.forEach((o, i) => {
      const { object, state: was, name, clicks, seconds } = objects[i];
      sent.set(o.id, { object, state: was, mask: state.maskOf(o), name });
      Object.assign(effort(o.id), { clicks, seconds });
    });
    semi = doc.objects.some((o) => o.origin === "proposal");
    app.history = { ...state.newHistory(), present: doc };
    photo = next;
    if (before?.width === next.width && before.height === next.height) {
      app.view = { scale: before.scale, x: before.x, y: before.y };
      app.redraw();
    }
    moving = false;
    app.changed();
    if (semi) acceptNext(null);
    say(`${next.name}. ${doc.objects.length ? `${doc.objects.length} masks` : "No masks yet"}.`);
  }

  function offer(model) {
    const select = $("model");
    if (![...select.options].some((o) => o.value === model)) select.append(make("option", { value: model }, model));
    app.models[model] ??= { name: model };
    select.value = model;
  }

  function showFinished() {
    photo = null;
    [sent, efforts] = [new Map(), new Map()];
    app.closePhoto();
    app.changed(); // empties the list
    parts.card.hidden = false;
    $("no-objects").classList.add("finished"); // there is no photo to click on
    $("panel").hidden = false;
    say("All photos are done.");
  }

  /** Accept a proposal and select the next one. */
  function acceptNext(id) {
    let doc = app.history.present;
    if (id) doc = { ...doc, objects: doc.objects.map((o) => (o.id === id ? { ...o, origin: "accepted" } : o)) };
    const left = doc.objects.find((o) => isProposal(o) && o.id !== id);
    doc = left ? state.select(doc, left.id) : { ...doc, selected: null };
    if (id) app.edit(doc);
    else app.touch(doc);
  }
  app.acceptSelected = () => {
    const o = state.selectedObject(app.history.present), first = o && isProposal(o) ? o : proposals()[0];
    if (first) acceptNext(first.id);
    else say("There are no proposals here.");
  };

  function finishPhoto(how) {
    if (!photo || moving) return;
    if (state.waiting(app.history.present).length) return toast("A mask is still being computed; wait a moment.");
    if (how === "done" && proposals().length) {
      app.edit({ ...app.history.present, objects: app.history.present.objects.map((o) => (isProposal(o) ? { ...o, origin: "accepted" } : o)) });
    }
    sync();
    const { id } = photo;
    outbox.whenEmpty(() => photo?.id === id && go(async () => {
      await ask("project/finish", { holder, photo: id, state: how });
      return ask("project/next", { holder });
    }));
    updateNote();
  }
  app.donePhoto = () => finishPhoto("done");
  app.skipPhoto = () => finishPhoto("skipped");
  app.photoBefore = () => !moving && (sync(), outbox.whenEmpty(() => go(() => ask("project/before", { holder, photo: photo?.id ?? null }))));

  function build() {
    document.head.append(make("link", { rel: "stylesheet", href: "page/project.css" }));
    document.body.classList.add("in-project");
    const button = (name, keys, text, run, kind = "quiet") => make("button", { class: kind, id: `project-${name}`, title: `${text} (${keys})`, "aria-keyshortcuts": keys, onclick: run }, text);
    const counted = make("span", { id: "project-count" }), bar = make("progress", { id: "project-bar", max: 1, value: 0, "aria-label": "Photos done" });
    const accept = make("button", { class: "quiet", id: "project-accept", title: "Accept the selected proposal (Y)", "aria-keyshortcuts": "Y", hidden: true, onclick: () => app.acceptSelected() });
    $("panel").prepend(make("div", { class: "project" }, make("p", {}, make("b", {}, project.name), counted), bar, accept));
    const note = make("p", { id: "project-note", role: "status" });
    const before = button("before", "U", "Back", () => app.photoBefore()), skip = button("skip", "K", "Skip", () => app.skipPhoto());
    const next = button("next", "D", "Next photo", () => app.donePhoto(), "primary");
    document.querySelector(".files").append(note, before, skip, next); // project.css hides the other buttons
    const card = make("div", { class: "empty", id: "project-done", hidden: true }, make("div", { class: "card" }, make("h2", {}, "All photos are done"),
      make("p", {}, "Train the next round with sam-hub engine train, or go back to a photo with U.")));
    $("stage").append(card);
    $("keys").append(...KEYS.flatMap(([key, meaning]) => [make("kbd", {}, make("b", {}, key)), make("span", {}, meaning)]));
    return { count: counted, bar, accept, note, next, skip, card };
  }

  function updateCounts({ all, done, masks }) {
    parts.count.textContent = `${done} of ${all} photos, ${masks} ${masks === 1 ? "mask" : "masks"}`;
    parts.bar.max = Math.max(1, all);
    parts.bar.value = done;
  }
  function updateProposals() {
    const left = proposals().length;
    parts.accept.hidden = !left;
    parts.accept.textContent = `Accept (Y): ${left} proposed mask${left === 1 ? "" : "s"} left`;
  }
  function updateNote() {
    const o = photo && state.selectedObject(app.history.present);
    const seconds = !photo ? 0 : o && sent.has(o.id) ? effort(o.id).seconds : o && efforts.has(o.id) ? effort(o.id).seconds + pending : pending;
    const slow = seconds > project.limit && o && !isProposal(o);
    const clock = `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
    const trouble = outbox.trouble ?? (away ? "the server cannot be reached" : "");
    const text = trouble ? `Not saved: ${trouble}. The masks are kept here; retrying.` : outbox.size ? "Saving" : slow ? `${clock} on this mask: move on?` : photo ? `Saved · ${clock}` : "";
    if (parts.note.textContent !== text) parts.note.textContent = text;
    parts.note.classList.toggle("trouble", Boolean(trouble));
    parts.note.classList.toggle("slow", Boolean(slow && !trouble));
  }

  const open = app.open;
  app.open = async () => toast("This page labels the photos of a project; use sam-hub demo for other photos.");
  app.openDialog = app.importDialog = app.exportDialog = () => {};
  addEventListener("keydown", (e) => {
    if (e.ctrlKey || e.metaKey || e.altKey || document.querySelector("dialog[open]")) return;
    if (e.target.matches?.("input:not([type=range]):not([type=checkbox]), select, textarea")) return;
    const run = { y: app.acceptSelected, d: app.donePhoto, k: app.skipPhoto, u: app.photoBefore }[e.key.toLowerCase()];
    if (!run || e.repeat) return;
    e.preventDefault();
    run();
  });
  addEventListener("beforeunload", (e) => outbox.size && e.preventDefault());

  outbox.whenEmpty(() => go(() => ask("project/next", { holder }))); // first send what an earlier page could not save
  updateNote();
}

function hex(bytes) {
  return [...crypto.getRandomValues(new Uint8Array(bytes))].map((b) => b.toString(16).padStart(2, "0")).join("");
}

function stored(storage, key) {
  try {
    return storage.getItem(`sam-hub.${key}`);
  } catch {
    return null; // storage is disabled
  }
}

function keep(storage, key, value) {
  try {
    storage.setItem(`sam-hub.${key}`, value);
  } catch {
    // storage is disabled: the value lives only in this page
  }
  return value;
}
