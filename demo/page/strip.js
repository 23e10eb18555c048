// The strip of open photos: work is kept, and a click on a photo continues it.
import { revived, PhotoStore } from "./photo_store.js";
import { emptyDocument, maskOf, newHistory } from "./state.js";
import { $, icon, make, remember, remembered, toast } from "./ui.js";

const PAUSE = 400; // ms without a change before saving
const THUMB = 96;
const UNSAVED = "unsaved";

export async function startStrip(app) {
  const open = new Map(); // key -> {key, name, blob, thumb, doc, photo, history}; photo, history: of this visit only
  const store = await PhotoStore.open();
  let timer = 0, full = false;

  const current = () => [...open.values()].find((entry) => entry.photo && entry.photo === app.photo);
  app.entryOf = (photo) => [...open.values()].find((entry) => entry.photo === photo) ?? null;
  const found = (doc) => doc.objects.filter((o) => maskOf(o)?.area).length;
  const words = (count) => (count ? `${count} object${count === 1 ? "" : "s"}` : "no objects yet");

  async function put(entry) {
    const { key, name, blob, thumb, doc } = entry, kept = { name, blob, thumb, doc };
    try {
      return store ? await store.put(key === undefined || key < 0 ? kept : { ...kept, key }) : undefined;
    } catch {
      if (!full) toast("This browser's storage is full; export what you need.");
      full = true;
      return undefined;
    }
  }

  /** Add a newly opened photo to the strip. */
  app.shelve = async (photo) => {
    if (current()) return refresh();
    const entry = { key: -1 - open.size, name: photo.name, blob: photo.blob, photo, thumb: null, doc: emptyDocument() };
    open.set(entry.key, entry);
    entry.thumb = await thumbOf(photo.bitmap).catch(() => null);
    entry.picture = null; // redraw it with the thumbnail
    const key = await put(entry);
    if (key !== undefined) {
      open.delete(entry.key);
      open.set((entry.key = key), entry);
    }
    refresh();
    return keepSoon();
  };

  /** Save after a pause; `keep` saves at once. */
  function keepSoon() {
    clearTimeout(timer);
    timer = setTimeout(keep, PAUSE);
  }
  app.keepSoon = keepSoon;
  function keep() {
    clearTimeout(timer);
    const entry = current();
    if (!entry || entry.doc === app.history.present) return;
    entry.history = app.history;
    const doc = (entry.doc = app.history.present);
    if (entry.key >= 0) put(entry).then((key) => key !== undefined && (entry.saved = doc));
    refresh();
  }
  app.keepNow = keep;
  /** When the page is left, IndexedDB may not finish, so unsaved work also goes to localStorage, which is synchronous. */
  addEventListener("pagehide", () => {
    const entry = current();
    if (!entry || entry.saved === app.history.present || entry.key < 0) return;
    remember(UNSAVED, JSON.stringify({ key: entry.key, doc: app.history.present }));
    keep();
  });
  document.addEventListener("visibilitychange", () => document.hidden && keep());

  async function goTo(entry) {
    if (entry === current()) return;
    keep();
    const history = entry.history ?? { ...newHistory(), present: revived(entry.doc) };
    await app.open(entry.blob, entry.name, { history, entry });
  }

  async function closeEntry(entry) {
    const isOpen = entry === current();
    open.delete(entry.key);
    if (entry.key >= 0) await store?.remove(entry.key).catch(() => {});
    const next = [...open.values()].at(-1);
    if (isOpen && next) await goTo(next);
    else if (isOpen) app.closePhoto();
    refresh();
  }

  function refresh() {
    const entries = [...open.values()], here = current();
    $("strip").hidden = entries.length < (here ? 2 : 1);
    $("strip").replaceChildren(...entries.map((entry) => {
      const count = words(found(entry === here ? app.history.present : entry.doc));
      entry.picture ??= pictureOf(entry.thumb);
      const choose = make("button", { class: "shelved", title: `${entry.name}: ${count}`, "aria-label": `${entry.name}, ${count}`,
        "aria-current": String(entry === here), onclick: () => goTo(entry) }, entry.picture, make("span", {}, entry.name));
      const away = make("button", { class: "icon away", title: `Close ${entry.name}`, "aria-label": `Close ${entry.name}`, onclick: () => closeEntry(entry) }, icon("clear"));
      return make("span", { class: "shelved-one", "data-kept": String(entry.key >= 0) }, choose, away);
    }));
    const last = entries.at(-1);
    $("go-on").hidden = Boolean(here || !last);
    if (last) $("go-on").textContent = `Continue with ${last.name}, ${words(found(last.doc))}`;
  }
  $("go-on").addEventListener("click", () => goTo([...open.values()].at(-1)));

  for (const entry of store ? await store.entries().catch(() => []) : []) open.set(entry.key, entry);
  const unsaved = JSON.parse(remembered(UNSAVED) || "null"), late = open.get(unsaved?.key);
  if (late) {
    late.doc = unsaved.doc;
    await put(late);
  }
  if (unsaved) remember(UNSAVED, "");
  refresh();
}

/** A thumbnail as a canvas. */
function pictureOf(thumb) {
  const canvas = make("canvas", { width: 68, height: 68, "aria-hidden": "true" });
  if (thumb) {
    createImageBitmap(thumb).then((bitmap) => {
      const side = Math.min(bitmap.width, bitmap.height);
      canvas.getContext("2d").drawImage(bitmap, (bitmap.width - side) / 2, (bitmap.height - side) / 2, side, side, 0, 0, 68, 68);
    }, () => {});
  }
  return canvas;
}

/** A thumbnail as a JPEG. */
async function thumbOf(bitmap) {
  const scale = THUMB / Math.max(bitmap.width, bitmap.height), canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.8));
}

