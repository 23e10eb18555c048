// Keyboard control of everything that a pointer can do.
import { choose, maskOf, select, selectedObject } from "./state.js";
import { boxFrom, into, keep, pan, toScreen, zoom } from "./view.js";

/** The list in the help: [keys, meaning]. */
export const KEYS = [
  ["O", "open a photo"], ["← ↑ → ↓", "move the cross (with Ctrl by one pixel)"], ["Enter", "add at the cross; corner of a box; brush down and up"],
  ["Shift Enter", "remove at the cross"], ["P R B M V", "add, remove, box, paint, move"], ["1 2 3 4", "switch between masks"],
  ["N", "new object"], ["[ ]", "previous object, next object"], ["Z", "look closer at the object"], ["F2", "name the object"], ["H", "hide or show the object"], ["Delete", "delete the object"],
  ["Esc", "clear the clicks of the object"], ["Ctrl Z", "undo"], ["Ctrl Shift Z", "redo"], ["T", "tidy masks on or off"], ["A", "find everything"], ["+ − 0", "zoom in, out, fit"],
  ["Shift ← ↑ → ↓", "move the photo"], ["{ }", "lighter or stronger tint"], ["S", "export"], ["I", "import"], ["?", "this help"],
];

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const STEP = 12, SHIFT = 60;

export function listenToKeys(element, app) {
  let corner = null; // first corner of a box, set with Enter

  const at = () => app.cursor ?? [app.photo.width / 2, app.photo.height / 2];
  const changeView = (view) => {
    app.view = keep(view, app.photo, app.stage());
    app.redraw();
  };

  function arrow(e, [dx, dy]) {
    if (e.shiftKey) return changeView(pan(app.view, -dx * SHIFT, -dy * SHIFT));
    const step = e.ctrlKey || e.metaKey ? 1 : STEP / app.view.scale;
    const [x, y] = app.cursor ? [app.cursor[0] + dx * step, app.cursor[1] + dy * step] : at();
    app.cursor = into(app.photo, x, y);
    const [sx, sy] = toScreen(app.view, ...app.cursor), stage = app.stage();
    if (sx < 30 || sy < 30 || sx > stage.width - 30 || sy > stage.height - 30) changeView(pan(app.view, -dx * SHIFT * 2, -dy * SHIFT * 2));
    if (corner) app.draft = draft();
    else if (app.penDown) app.penTo(app.cursor);
    else if (app.tab === "everything") app.light(app.cursor);
    else app.hover(...app.cursor, e.timeStamp);
    app.draw();
  }

  const draft = () => {
    const box = boxFrom(corner, app.cursor, app.photo, 0);
    return box && { box };
  };

  function enter(e) {
    if (!app.cursor) {
      app.cursor = at();
      return app.draw();
    }
    if (app.tab === "objects" && app.tool === "box") {
      if (!corner) {
        corner = app.cursor;
        return app.say("First corner set. Move to the opposite corner and press Enter.");
      }
      const box = boxFrom(corner, app.cursor, app.photo, 2);
      corner = app.draft = null;
      return box ? app.box(box, e.timeStamp) : app.say("That box is too small.");
    }
    if (app.tab === "objects" && app.tool === "brush") return app.pen(app.cursor, e.shiftKey);
    app.click(...app.cursor, e.shiftKey || app.tool === "remove" ? 0 : 1, e.timeStamp);
  }

  function escape() {
    if (corner || app.draft) {
      corner = app.draft = null;
      app.penDown = false;
      return app.draw();
    }
    app.clearSelected();
  }

  /** Keys that act only while the photo has the focus. */
  function onPhoto(e) {
    if (!app.photo) return false;
    if (ARROWS[e.key]) arrow(e, ARROWS[e.key]);
    else if (e.key === "Enter" || (e.key === " " && app.cursor)) enter(e);
    else if (e.key === "Escape") escape();
    else if (e.key === "Delete" || e.key === "Backspace") app.removeSelected();
    else return false;
    return true;
  }

  const step = (by) => {
    const doc = app.history.present;
    if (!doc.objects.length) return;
    const now = doc.objects.findIndex((o) => o.id === doc.selected);
    app.touch(select(doc, doc.objects.at((now + by + doc.objects.length) % doc.objects.length).id));
  };
  const number = (n) => {
    const o = selectedObject(app.history.present);
    if (o?.answer?.masks[n - 1]) {
      app.edit(choose(app.history.present, o.id, n - 1));
      const mask = maskOf(selectedObject(app.history.present));
      app.say(`Mask ${n}, score ${mask.score?.toFixed(2) ?? "unknown"}`);
    }
  };
  const middle = () => [app.stage().width / 2, app.stage().height / 2];

  const COMMANDS = {
    o: () => app.openDialog(), i: () => app.importDialog(), "?": () => app.help(),
    s: () => app.exportDialog(), a: () => app.searchEverything(), n: () => app.newObject(),
    p: () => app.use("add"), r: () => app.use("remove"), b: () => app.use("box"), m: () => app.use("brush"), v: () => app.use("pan"),
    z: (e) => app.lookCloser(e.timeStamp), h: () => app.hideSelected(), t: () => app.tidy(), F2: () => app.nameSelected(), "[": () => step(-1), "]": () => step(1),
    "{": () => app.tint(app.opacity - 0.08), "}": () => app.tint(app.opacity + 0.08),
    "+": () => changeView(zoom(app.view, 1.25, ...middle())), "=": () => changeView(zoom(app.view, 1.25, ...middle())),
    "-": () => changeView(zoom(app.view, 0.8, ...middle())), 0: () => app.fit(),
  };
  const ALWAYS = new Set(["o", "?"]);

  addEventListener("keydown", (e) => {
    if (document.querySelector("dialog[open]")) return;
    const typing = e.target.matches?.("input:not([type=range]):not([type=checkbox]), select, textarea");
    const key = e.key.length === 1 ? e.key.toLowerCase() : e.key;
    if ((e.ctrlKey || e.metaKey) && !typing && (key === "z" || key === "y")) {
      e.preventDefault();
      return key === "y" || e.shiftKey ? app.redo() : app.undo();
    }
    if (typing) return;
    if (e.target === element && onPhoto(e)) return e.preventDefault();
    if (e.ctrlKey || e.metaKey || e.altKey) return;
    if (!app.photo && !ALWAYS.has(key)) return;
    if (/^[1-9]$/.test(key)) number(Number(key));
    else if (COMMANDS[key]) COMMANDS[key](e);
    else return;
    e.preventDefault();
  });
  let tabbed = false; // show the focus ring only after Tab, until the cross appears
  addEventListener("keydown", (e) => {
    tabbed = e.key === "Tab";
    if (!tabbed) delete element.dataset.ring;
  }, true);
  addEventListener("pointerdown", () => (tabbed = false), true);
  element.addEventListener("focus", () => {
    if (tabbed) element.dataset.ring = "";
  });
  element.addEventListener("blur", () => {
    delete element.dataset.ring;
    app.cursor = corner = null;
    app.draw();
  });
}
