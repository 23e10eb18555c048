// Opening and encoding the photo, and encoding it again if it has been dropped.
import { compute } from "./compute.js";
import { GONE } from "./failure.js";
import { decodePhoto } from "./files.js";
import { agreed, wordsAbout } from "./models.js";
import { notice, waitingFor } from "./notices.js";
import * as state from "./state.js";
import { $, remember, remembered, say, toast } from "./ui.js";

const STAGES = { sending: "Sending the photo", reading: "Reading the photo", loading: "Loading the model",
  encoding: "Encoding the photo" };

export function startPhoto(app) {
  let opening = null; // AbortController
  /** history, entry: of a photo opened earlier, see `strip.js` */
  app.open = async (blob, name, { history = null, entry = null } = {}) => {
    if (app.limits && blob.size > app.limits.upload_bytes) {
      return toast(`The photo is larger than ${app.limits.upload_bytes >> 20} MB; save it smaller.`, "error");
    }
    app.keepNow?.();
    opening?.abort();
    const mine = (opening = new AbortController()), model = $("model").value, known = entry?.photo;
    const photo = { blob, name, bitmap: null, id: null, model, ...(known?.model === model ? { id: known.id, device: known.device } : {}) };
    const encoded = photo.id ? Promise.resolve() : encode(photo, model, mine.signal); // runs while the browser decodes the photo
    encoded.catch(() => {}); // reported below
    const bitmap = await decodePhoto(blob);
    if (mine.signal.aborted) return;
    if (bitmap) {
      Object.assign(photo, { bitmap, width: bitmap.width, height: bitmap.height });
      showPhoto(photo, history, entry);
    }
    try {
      await encoded;
      if (!bitmap) { // the browser cannot decode it
        photo.bitmap = await compute.bitmap(photo.id);
        showPhoto(photo, history, entry);
      }
      app.changed();
    } catch (e) {
      app.fail(e);
      if (app.photo === photo && e.name !== "AbortError" && !entry) close();
    }
  };

  function showPhoto(photo, history, entry) {
    app.photo?.bitmap?.close(); // large; do not wait for the garbage collector
    app.photo = photo;
    if (entry) entry.photo = photo;
    app.history = history ?? state.newHistory(wantedTidy());
    app.early = new Map();
    app.cursor = app.draft = null;
    app.penDown = false;
    app.forgetFound();
    for (const id of ["tools", "below", "panel"]) $(id).hidden = false;
    $("empty").hidden = true;
    $("photo-name").textContent = photo.name;
    document.title = `${photo.name} · sam-hub`;
    app.resize();
    app.fit();
    app.changed();
    app.placed?.();
    if (photo.id) app.took({});
    $("canvas").focus({ preventScroll: true });
    app.shelve?.(photo);
  }

  /** The last choice, or null for the model's default. */
  const wantedTidy = () => ({ on: true, off: false })[remembered("tidy")] ?? null;

  app.closePhoto = close;
  function close() {
    app.photo?.bitmap?.close();
    app.photo = null;
    app.history = state.newHistory();
    for (const id of ["tools", "below", "panel"]) $(id).hidden = true;
    $("empty").hidden = false;
    $("photo-name").textContent = "Open a photo";
    app.redraw();
  }

  /** Encode a photo; one already sent is not sent again for another model. */
  async function encode(photo, model, signal) {
    const busy = notice(() => cancel());
    busy.tell(STAGES.sending);
    const watch = (event) => {
      if (event.stage === "waiting" && event.ahead) busy.tell(waitingFor(event.ahead));
      else if (STAGES[event.stage]) busy.tell(event.note ?? STAGES[event.stage], event.of ? event.done / event.of : undefined);
    };
    try {
      let done = null;
      if (photo.id && photo.model !== model) {
        done = await compute.encodeAgain(photo.id, model, watch, signal).catch((e) => {
          if (e.status !== GONE) throw e;
          return null;
        });
      }
      done ??= await compute.encode(photo.blob, model, watch, signal);
      Object.assign(photo, { id: done.id, model: done.model, device: done.device, width: done.width, height: done.height, tidy: done.tidy });
      app.askAgain();
      times.decode = 0;
      app.took({ encode: done.encode_ms });
      say("The photo is ready.");
      $("hint").textContent = app.hint(state.selectedObject(app.history.present));
    } finally {
      busy.end();
    }
  }

  /** Run work on the encoded photo; if the photo has been dropped, encode it again and retry once. */
  app.withPhoto = async (work) => {
    try {
      return await work();
    } catch (e) {
      if (e.status !== GONE) throw e;
      await app.sendAgain(app.photo);
      return work();
    }
  };
  let sending = null;
  app.sendAgain = (photo) => (sending ??= encode(photo, photo.model).finally(() => (sending = null)));

  const times = {};
  app.took = (part) => {
    Object.assign(times, part);
    const parts = [times.encode && `photo ${Math.round(times.encode)} ms`, times.decode && `mask ${Math.round(times.decode)} ms`];
    $("facts").textContent = [app.photo?.device, ...parts].filter(Boolean).join("  ·  ");
    $("facts").hidden = false;
  };

  let changing = null; // AbortController of a change of model
  $("model").addEventListener("change", async () => {
    const model = $("model").value, before = app.photo?.model ?? remembered("model") ?? app.defaultModel;
    if (model !== before && !(await agreed(app.models[model]))) {
      $("model").value = before;
      return;
    }
    remember("model", model);
    $("model").title = wordsAbout(app.models[model]);
    changing?.abort();
    const photo = app.photo;
    if (!photo || photo.model === model) return;
    if (!photo.id) return app.open(photo.blob, photo.name, { history: app.history, entry: app.entryOf?.(photo) }); // still encoding with the previous model: start over
    const mine = (changing = new AbortController());
    try {
      await encode(photo, model, mine.signal);
      if (app.photo !== photo) return;
      app.forgetFound();
      app.changed();
    } catch (e) {
      app.fail(e);
      if (changing === mine && app.photo === photo) $("model").value = photo.model;
    }
  });
  function cancel() {
    if (changing && !changing.signal.aborted && app.photo?.id) return changing.abort();
    opening?.abort();
    if (app.photo && !app.photo.id) close();
    return undefined;
  }
}
