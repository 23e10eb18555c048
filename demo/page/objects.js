// The list of objects, with their candidate masks.
import { drawThumb } from "./draw.js";
import { canZoom, choose, hasPrompt, maskOf, nameOf, remove, rename, select, show } from "./state.js";
import { $, icon, make, percent, roving, score, SCORE_MEANS } from "./ui.js";

export function startObjects(app) {
  const list = $("objects");
  let shownLast = null; // id of the object selected at the last refresh
  const rows = new Map(); // id -> {row, parts, drawn}

  function rowOf(id) {
    if (rows.has(id)) return rows.get(id);
    const find = () => app.history.present.objects.find((o) => o.id === id);
    const thumb = make("canvas", { class: "thumb", width: 44, height: 44, "aria-hidden": "true" });
    const name = make("input", { class: "name", maxlength: 80, spellcheck: "false", autocomplete: "off",
      onchange: (e) => app.edit(rename(app.history.present, id, e.target.value.trim())),
      onkeydown: (e) => {
        if (e.key === "Escape") e.target.value = find().name;
        if (e.key === "Enter" || e.key === "Escape") $("canvas").focus();
      },
      onfocus: () => app.touch(select(app.history.present, id)) });
    const facts = make("span", { class: "facts", title: `Part of the photo. ${SCORE_MEANS}` });
    const eye = make("button", { class: "icon", onclick: (e) => {
      e.stopPropagation();
      app.touch(show(app.history.present, id, !find().visible));
    } });
    const bin = make("button", { class: "icon", title: "Delete (Del)", onclick: (e) => {
      e.stopPropagation();
      app.edit(remove(app.history.present, id));
    } }, icon("trash"));
    const choices = make("div", { class: "choices", role: "radiogroup" });
    roving(choices, "button");
    const row = make("li", { class: "object", onclick: (e) => {
      app.touch(select(app.history.present, id));
      if (!e.target.closest("input, button")) $("canvas").focus({ preventScroll: true });
    } }, thumb, make("div", { class: "who" }, name, facts), make("div", { class: "acts" }, eye, bin), choices);
    const made = { row, thumb, name, facts, eye, bin, choices, filled: [], drawn: null, offered: null };
    rows.set(id, made);
    return made;
  }

  function fill(o, selected) {
    const r = rowOf(o.id), mask = maskOf(o), note = app.noteOf?.(o), filled = [o, selected, app.photo.id, note];
    if (filled.every((v, i) => v === r.filled[i])) return;
    r.filled = filled;
    r.row.classList.toggle("hidden", !o.visible);
    r.row.setAttribute("aria-current", String(selected));
    r.row.dataset.id = o.id;
    if (document.activeElement !== r.name) r.name.value = o.name;
    r.name.placeholder = nameOf({ ...o, name: "" });
    r.name.setAttribute("aria-label", `Name of ${nameOf(o)}`);
    r.bin.setAttribute("aria-label", `Delete ${nameOf(o)}`);
    r.eye.setAttribute("aria-label", `${o.visible ? "Hide" : "Show"} ${nameOf(o)}`);
    r.eye.title = o.visible ? "Hide (H)" : "Show (H)";
    r.eye.replaceChildren(icon(o.visible ? "eye" : "eye-off"));
    const dot = make("span", { class: "dot" });
    dot.style.setProperty("--c", o.color);
    const words = mask ? (mask.area ? [percent(mask.area / (app.photo.width * app.photo.height)), score(mask.score), note].filter(Boolean).join("  ·  ") : "nothing found")
      : hasPrompt(o) ? (!app.photo.id ? "waiting for the photo" : o.zoom ? "looking closer" : "…") : "click on it";
    r.facts.replaceChildren(dot, words, ...(mask && o.answer.window ? [icon("closer")] : []));
    if (r.drawn !== mask) {
      drawThumb(r.thumb, app.photo, mask, { color: o.color });
      r.drawn = mask;
    }
    offer(r, o, selected);
  }

  function offer(r, o, selected) {
    const masks = selected ? (o.answer?.masks ?? []) : [];
    const shown = masks.length > 1;
    r.choices.hidden = !shown;
    if (!shown) return;
    r.choices.setAttribute("aria-label", `Masks of ${nameOf(o)}`);
    if (r.offered !== o.answer) {
      r.choices.replaceChildren(...masks.map((mask, i) => {
        const canvas = make("canvas", { width: 48, height: 36, "aria-hidden": "true" });
        drawThumb(canvas, app.photo, mask, { color: o.color, cut: false });
        return make("button", { role: "radio", title: `Mask ${i + 1} (${i + 1}). ${SCORE_MEANS}`, "aria-label": `Mask ${i + 1}, score ${score(mask.score)}`,
          onclick: (e) => {
            e.stopPropagation();
            app.edit(choose(app.history.present, o.id, i));
          } }, canvas, score(mask.score));
      }));
      r.offered = o.answer;
    }
    [...r.choices.children].forEach((button, i) => {
      button.setAttribute("aria-checked", String(i === o.chosen));
      button.tabIndex = i === o.chosen ? 0 : -1;
    });
  }

  /** The button below the photo, for the selected object. */
  function offerCloser(o) {
    const button = $("closer"), can = canZoom(o);
    button.hidden = app.tab === "everything" || !hasPrompt(o);
    button.disabled = !can;
    button.title = can ? `Encode the part around ${nameOf(o)} as well, which improves masks of small objects (Z)` : "A painted mask cannot be looked at closer";
    button.setAttribute("aria-pressed", String(Boolean(o?.zoom)));
  }

  $("closer").addEventListener("click", (e) => app.lookCloser(e.timeStamp));

  return function refresh() {
    const { objects, selected } = app.history.present;
    for (const id of [...rows.keys()]) if (!objects.some((o) => o.id === id)) rows.delete(id);
    if (app.photo) for (const o of objects) fill(o, o.id === selected);
    const wanted = objects.map((o) => rowOf(o.id).row);
    if (wanted.length !== list.children.length || wanted.some((row, i) => list.children[i] !== row)) list.replaceChildren(...wanted);
    if (selected !== shownLast) rows.get(selected)?.row.scrollIntoView({ block: "nearest" });
    shownLast = selected;
    $("no-objects").hidden = objects.length > 0;
    $("object-count").textContent = objects.length || "";
    offerCloser(objects.find((o) => o.id === selected));
    $("new-object").hidden = objects.length === 0;
    $("export").disabled = !objects.some((o) => maskOf(o)?.area);
  };
}
