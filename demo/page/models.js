// The model menu, and the confirmation before a download.
import { $, make } from "./ui.js";

const megabytes = (bytes) => (bytes >= 1e9 ? `${(bytes / 1e9).toFixed(1)} GB` : `${Math.max(1, Math.round(bytes / 1e6))} MB`);
const millions = (params) => `${params >= 1e9 ? `${(params / 1e9).toFixed(1)} billion` : `${Math.round(params / 1e6)} million`} parameters`;

/** model: {name, params, bytes, license, good_for, here}; here: true if stored locally, false to ask before downloading, null to download unasked */
export function optionOf(model) {
  const facts = [model.params && `${Math.round(model.params / 1e6)} M`, model.bytes && !model.here && megabytes(model.bytes)].filter(Boolean);
  return make("option", { value: model.name, title: wordsAbout(model) }, facts.length ? `${model.name}  (${facts.join(", ")})` : model.name);
}

export function wordsAbout(model) {
  if (!model) return "";
  const size = model.here ? "no download" : model.bytes ? `${megabytes(model.bytes)} to download` : "";
  return [model.name, model.params && millions(model.params), size, model.license, model.good_for].filter(Boolean).join("; ");
}

/** Ask before a model is downloaded; true if no download is needed. */
export function agreed(model) {
  if (!model || model.here !== false) return true;
  const dialog = $("model-dialog");
  $("model-title").textContent = `Download ${model.name}?`;
  $("model-facts").replaceChildren(...[["Size", model.bytes && megabytes(model.bytes)], ["Model", model.params && millions(model.params)], ["Licence", model.license], ["Good for", model.good_for]]
    .filter(([, value]) => value).flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((done) => dialog.addEventListener("close", () => {
    const yes = dialog.returnValue === "go";
    if (yes) model.here = null; // do not ask again
    done(yes);
  }, { once: true }));
}
