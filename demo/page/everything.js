// Everything mode: find masks, filter them, add some to the objects.
import { compute } from "./compute.js";
import { drawThumb } from "./draw.js";
import { addMasks } from "./state.js";
import { $, make, percent, roving, say, score, SCORE_MEANS } from "./ui.js";

const AT_FIRST = 60; // most masks shown before filtering

export function startEverything(app) {
  const list = $("found"), buttons = new Map();
  let preset = "default", stop = null;

  function offerPresets(searches) {
    $("presets").replaceChildren(...searches.map(({ name, words }) => make("button", { role: "radio", "data-preset": name, onclick: () => pick(name, words) }, name)));
    const first = searches.find((s) => s.name === "fast") ?? searches[0];
    pick(first.name, first.words);
  }
  function pick(name, words) {
    preset = name;
    $("preset-words").textContent = words;
    for (const b of $("presets").children) {
      b.setAttribute("aria-checked", String(b.dataset.preset === name));
      b.tabIndex = b.dataset.preset === name ? 0 : -1;
    }
  }
  roving($("presets"), "button");

  async function search() {
    if (stop) return stop.abort();
    if (!app.photo?.id) return say("The photo is not ready yet.");
    app.show("everything");
    stop = new AbortController();
    const photo = app.photo;
    running(true);
    try {
      const answer = await app.withPhoto(() => compute.everything(app.photo.id, preset, app.history.present.tidy ?? null, progress, stop.signal));
      if (photo !== app.photo) return;
      take(answer.masks);
      say(`${answer.masks.length} masks found.`);
      $("hint").textContent = answer.masks.length ? "Click on a mask to add it to the objects" : "No stable masks; try a finer search";
      $("preset-words").textContent = `${answer.masks.length} masks in ${(answer.ms / 1000).toFixed(1)} s`;
    } catch (e) {
      if (e.name !== "AbortError") app.fail(e);
    } finally {
      stop = null;
      running(false);
    }
  }
  function progress(event) {
    if (event.stage === "waiting" && event.ahead) $("find-text").textContent = `Waiting for ${event.ahead} other${event.ahead > 1 ? "s" : ""}`;
    if (event.stage !== "searching") return;
    $("find-text").textContent = "Stop";
    $("find-bar").value = event.done / event.of;
  }
  function running(on) {
    $("find-bar").hidden = !on;
    $("find-bar").value = 0;
    $("find-text").textContent = on ? "Stop" : "Find everything";
  }

  function take(masks) {
    app.found.masks = masks.map((m, key) => ({ ...m, key }));
    buttons.clear();
    for (const m of app.found.masks) buttons.set(m, button(m));
    const scores = masks.map((m) => m.score).sort((a, b) => b - a);
    $("score").value = masks.length > AT_FIRST ? Math.floor(scores[AT_FIRST] * 100) : 0;
    $("area").value = 0;
    filter();
  }
  function forget() {
    stop?.abort();
    app.found.masks = null;
    app.found.shown = [];
    app.found.lit = null;
    buttons.clear();
    refresh();
  }

  const leastArea = () => (Number($("area").value) / 100) ** 3 * 0.5; // finer steps for small areas
  function filter() {
    const least = Number($("score").value) / 100, share = leastArea(), all = app.photo.width * app.photo.height;
    app.found.shown = (app.found.masks ?? []).filter((m) => m.score >= least && m.area >= share * all);
    if (!app.found.shown.includes(app.found.lit)) app.found.lit = null;
    refresh();
    app.draw();
  }

  function button(m) {
    const canvas = make("canvas", { width: 60, height: 60, "aria-hidden": "true" });
    drawThumb(canvas, app.photo, m, {});
    const share = percent(m.area / (app.photo.width * app.photo.height));
    return make("button", { "aria-label": `Mask of ${share} of the photo, score ${score(m.score)}`, "aria-pressed": "false", title: `${share} of the photo. ${SCORE_MEANS}`,
      onpointerenter: () => lit(m), onpointerleave: () => dim(m), onfocus: () => lit(m), onblur: () => dim(m), onclick: () => toggle(m) }, canvas, score(m.score));
  }
  function lit(m) {
    if (app.found.lit === m) return;
    buttons.get(app.found.lit)?.classList.remove("lit");
    app.found.lit = m;
    buttons.get(m)?.classList.add("lit");
    app.draw();
  }

  const dim = (m) => app.found.lit === m && lit(null);

  const taken = (m) => app.history.present.objects.find((o) => o.key === m.key && o.origin === "found");
  function toggle(m) {
    const there = taken(m), doc = app.history.present;
    if (there) app.edit({ ...doc, objects: doc.objects.filter((o) => o !== there), selected: doc.selected === there.id ? null : doc.selected });
    else app.edit(addMasks(doc, [asObject(m)], "found"));
    say(there ? "Removed from the objects." : "Added to the objects.");
  }
  const asObject = (m) => ({ ...m, points: [m.point] });
  function takeAll() {
    const fresh = app.found.shown.filter((m) => !taken(m));
    if (fresh.length) app.edit(addMasks(app.history.present, fresh.map(asObject), "found"));
    app.show("objects");
  }

  function refresh() {
    const { masks, shown } = app.found;
    $("filters").hidden = !masks?.length;
    $("no-found").hidden = Boolean(masks);
    $("found-count").textContent = masks ? shown.length : "";
    $("score-now").textContent = (Number($("score").value) / 100).toFixed(2);
    $("area-now").textContent = percent(leastArea()).replace("<0.1%", "0%");
    const limits = [Number($("score").value) && `score ≥ ${$("score-now").textContent}`, Number($("area").value) && `area ≥ ${$("area-now").textContent}`].filter(Boolean);
    $("shown-now").textContent = masks?.length ? `${shown.length} of ${masks.length} shown${limits.length ? ` (${limits.join(", ")})` : ""}` : "";
    $("take-all").hidden = !shown.length;
    $("take-all").textContent = `Add ${shown.length === 1 ? "it" : `all ${shown.length}`} to the objects`;
    for (const [m, b] of buttons) b.setAttribute("aria-pressed", String(Boolean(taken(m))));
    const wanted = [...shown].sort((a, b) => b.score - a.score).map((m) => buttons.get(m));
    if (wanted.length !== list.children.length || wanted.some((b, i) => list.children[i]?.firstChild !== b)) {
      list.replaceChildren(...wanted.map((b) => make("li", {}, b)));
    }
  }

  $("find").addEventListener("click", search);
  $("score").addEventListener("input", filter);
  $("area").addEventListener("input", filter);
  $("take-all").addEventListener("click", takeAll);

  return { offerPresets, search, forget, refresh, lit, toggle };
}
