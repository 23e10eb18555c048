// Text prompts: adds every object that matches a phrase.
import { compute } from "./compute.js";
import { addMasks, newOnes } from "./state.js";
import { $, say, toast } from "./ui.js";

export function startWords(app) {
  let stop = null;
  $("words").hidden = false;
  $("words").addEventListener("submit", async (e) => {
    e.preventDefault();
    if (stop) return stop.abort();
    const text = $("words-text").value.trim(), photo = app.photo;
    if (!text) return $("words-text").focus();
    if (!photo?.id) return say("The photo is not ready yet.");
    stop = new AbortController();
    $("words-go").textContent = "Stop";
    try {
      const { masks } = await app.withPhoto(() => compute.words(app.photo.id, text, () => {}, stop.signal));
      if (photo !== app.photo) return undefined;
      const fresh = newOnes(app.history.present, masks.filter((mask) => mask.area));
      if (fresh.length) app.edit(addMasks(app.history.present, fresh, "words"));
      return toast(masks.length ? `${masks.length} found.` : `Nothing found for "${text}"; use other words.`);
    } catch (failure) {
      return app.fail(failure);
    } finally {
      stop = null;
      $("words-go").textContent = "Find";
    }
  });
}
