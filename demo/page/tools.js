// The tools, the tabs and the buttons around the photo.
import { KEYS } from "./keys.js";
import * as state from "./state.js";
import { $, make, remember, roving, say } from "./ui.js";
import { keep, zoom } from "./view.js";

const HINTS = {
  add: "Click on an object, or drag a box around it", remove: "Click on the part to remove from the object", box: "Drag a box around an object",
  brush: "Paint roughly over an object; Shift or right button erases", pan: "Drag to move the photo, turn the wheel to zoom",
};

export function startTools(app) {
  app.hint = (o) => {
    if (!app.photo) return "";
    if (!app.photo.id) return "You can click already; the mask appears when the photo is ready";
    if (app.tab === "everything") return app.found.masks ? "Click on a mask to add it to the objects" : "Find everything in the photo, then choose";
    if (app.tool === "add" && (state.hasPrompt(o) || o?.answer)) return "Click adds, right click removes; points can be dragged; N starts another object";
    return HINTS[app.tool];
  };
  app.use = (tool) => {
    app.tool = tool;
    for (const b of $("tools").querySelectorAll("[data-tool]")) b.setAttribute("aria-pressed", String(b.dataset.tool === tool));
    $("brush-size").hidden = tool !== "brush";
    if (app.tab === "everything" && tool !== "pan") app.show("objects");
    app.dropPreview();
    app.draft = null;
    app.penDown = false;
    $("hint").textContent = app.hint(state.selectedObject(app.history.present));
    app.cursorShape();
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
    for (const b of $("tools").querySelectorAll("[data-tool]:not([data-tool=pan]), #clear")) b.hidden = tab === "everything"; // useless in everything mode
    app.dropPreview();
    app.found.lit = null;
    app.cursorShape();
    app.changed();
  };
  app.light = (at) => {
    if (app.tab !== "everything" || !app.found.masks) return;
    const hit = at && app.hit(app.found.shown, ...at);
    app.lightFound(hit);
    if (hit) document.querySelector(".found .lit")?.scrollIntoView({ block: "nearest" });
  };
  app.tint = (value) => {
    app.opacity = Math.min(1, Math.max(0, value));
    $("opacity").value = Math.round(app.opacity * 100);
    app.draw();
  };
  app.isTidy = () => app.history.present.tidy ?? app.photo?.tidy ?? false;
  app.tidy = (on = !app.isTidy()) => {
    remember("tidy", on ? "on" : "off");
    app.dropPreview();
    app.edit(state.setTidy(app.history.present, on));
    say(on ? "Masks are tidied: specks and pinholes are removed." : "Masks are shown as the model predicts them.");
  };
  $("tidy").addEventListener("change", (e) => app.tidy(e.target.checked));
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
}
