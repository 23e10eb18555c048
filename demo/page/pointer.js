// Mouse, pen and touch on the photo.
import { boxFrom, inside, keep, pan, toPhoto, zoom } from "./view.js";

const MOVED = 5, HOLD = 550;

export function listenToPointers(element, app) {
  const down = new Map(); // pointerId of a touch -> [x, y]
  let gesture = null; // {kind: "press" | "pan" | "box" | "stroke" | "pinch", ...}
  let space = false, over = false; // whether the pointer is over a mark

  const place = (e) => {
    const box = element.getBoundingClientRect();
    return [e.clientX - box.left, e.clientY - box.top];
  };
  const cursor = () => {
    const kind = gesture?.kind === "pan" ? "panning" : space || app.tool === "pan" ? "pan" : app.tool === "brush" ? "brush" : gesture?.kind === "mark" || over ? "mark" : app.tab === "everything" ? "pick" : "";
    element.dataset.cursor = kind;
  };
  const move = (view) => {
    app.view = keep(view, app.photo, app.stage());
    app.redraw();
  };

  element.addEventListener("contextmenu", (e) => e.preventDefault());

  element.addEventListener("pointerdown", (e) => {
    if (!app.photo) return;
    element.focus({ preventScroll: true });
    element.setPointerCapture(e.pointerId);
    app.cursor = null;
    const [x, y] = place(e);
    if (e.pointerType === "touch") {
      down.set(e.pointerId, [x, y]);
      if (down.size === 2) {
        clearTimeout(gesture?.hold);
        gesture = { kind: "pinch", last: pinch(down) };
        app.draft = null;
        return app.draw();
      }
      if (down.size > 2) return;
    }
    app.holdPreview();
    const touch = e.pointerType === "touch";
    const minus = e.button === 2 || e.shiftKey || app.tool === "remove";
    if (e.button === 1 || space || app.tool === "pan") gesture = { kind: "pan", last: [x, y] };
    else if (e.button > 2) return;
    else if (app.markAt(x, y, touch ? 20 : undefined)) {
      gesture = { kind: "mark", mark: app.markAt(x, y, touch ? 20 : undefined), from: [x, y], right: e.button === 2, moved: false, time: e.timeStamp };
      if (touch) gesture.hold = setTimeout(() => held(x, y), HOLD);
    } else {
      gesture = { kind: "press", from: [x, y], minus, touch, time: e.timeStamp };
      if (touch) gesture.hold = setTimeout(() => held(x, y), HOLD);
      if (app.tool === "brush" && app.tab === "objects") {
        const stroke = { points: [round(toPhoto(app.view, x, y))], radius: app.brush / 2 / app.view.scale, erase: e.button === 2 || e.shiftKey };
        gesture = { kind: "stroke", time: e.timeStamp };
        app.draft = { stroke };
        app.draw();
      }
    }
    if (gesture?.kind !== "press") app.dropPreview(); // a press still needs the preview
    cursor();
  });

  const held = (x, y) => {
    if (gesture?.kind === "mark" && !gesture.moved) {
      const { mark } = gesture;
      gesture = null;
      navigator.vibrate?.(15);
      return app.removeMark(mark);
    }
    if (gesture?.kind !== "press" || app.tab !== "objects") return;
    gesture = null;
    navigator.vibrate?.(15);
    app.click(...toPhoto(app.view, x, y), 0);
  };

  element.addEventListener("pointermove", (e) => {
    if (!app.photo) return;
    const [x, y] = place(e);
    app.pointer = [x, y];
    if (down.has(e.pointerId)) down.set(e.pointerId, [x, y]);
    if (!gesture) {
      if (e.pointerType !== "touch") hover(x, y, e.timeStamp);
      return;
    }
    if (gesture.kind === "pinch") {
      const now = pinch(down), was = gesture.last;
      gesture.last = now;
      return move(pan(zoom(app.view, now.span / was.span, now.x, now.y), now.x - was.x, now.y - was.y));
    }
    if (gesture.kind === "pan") {
      const [px, py] = gesture.last;
      gesture.last = [x, y];
      return move(pan(app.view, x - px, y - py));
    }
    if (gesture.kind === "stroke") {
      const points = e.getCoalescedEvents?.().map((each) => round(toPhoto(app.view, ...place(each)))) ?? [];
      const { stroke } = app.draft;
      app.draft = { stroke: { ...stroke, points: [...stroke.points, ...(points.length ? points : [round(toPhoto(app.view, x, y))])] } };
      return app.draw();
    }
    if (gesture.kind === "mark") {
      if (gesture.right || (!gesture.moved && Math.hypot(x - gesture.from[0], y - gesture.from[1]) <= MOVED)) return;
      clearTimeout(gesture.hold);
      gesture.moved = true;
      app.draft = { marks: app.moveMark(gesture.mark, toPhoto(app.view, x, y)) };
      return app.draw();
    }
    if (gesture.kind === "press" && Math.hypot(x - gesture.from[0], y - gesture.from[1]) > MOVED) {
      clearTimeout(gesture.hold);
      app.dropPreview();
      if (app.tab === "objects" && !gesture.minus && (app.tool === "box" || (app.tool === "add" && !gesture.touch))) gesture = { ...gesture, kind: "box" };
      else if (gesture.touch) gesture = { kind: "pan", last: [x, y] };
    }
    if (gesture.kind === "box") {
      const box = boxFrom(toPhoto(app.view, ...gesture.from), toPhoto(app.view, x, y), app.photo, 0);
      app.draft = box && { box };
      app.draw();
    }
  });

  const hover = (x, y, time) => {
    const on = Boolean(app.markAt(x, y));
    if (on !== over) {
      over = on;
      cursor();
    }
    const [px, py] = toPhoto(app.view, x, y);
    if (app.tab === "everything") app.light(inside(app.photo, px, py) ? [px, py] : null);
    else if (inside(app.photo, px, py)) app.hover(px, py, time);
    else app.dropPreview();
    if (app.tool === "brush") app.draw();
  };

  const up = (e) => {
    down.delete(e.pointerId);
    const ended = gesture;
    if (ended?.kind === "pinch") {
      if (!down.size) gesture = null;
      return;
    }
    gesture = null;
    clearTimeout(ended?.hold);
    cursor();
    const draft = app.draft;
    app.draft = null;
    if (e.type === "pointercancel" || !ended || !app.photo) return app.draw();
    const [x, y] = place(e);
    if (ended.kind === "mark") {
      if (ended.right) app.removeMark(ended.mark);
      else if (ended.moved && draft?.marks) app.setMarks(draft.marks, e.timeStamp);
    } else if (ended.kind === "box") {
      const box = boxFrom(toPhoto(app.view, ...ended.from), toPhoto(app.view, x, y), app.photo, 3 / app.view.scale);
      if (box) app.box(box, e.timeStamp);
    } else if (ended.kind === "stroke") app.stroke(draft.stroke, e.timeStamp);
    else if (ended.kind === "press") {
      const [px, py] = toPhoto(app.view, ...ended.from);
      if (inside(app.photo, px, py)) app.click(px, py, ended.minus ? 0 : 1, e.timeStamp);
      app.dropPreview();
    }
    app.draw();
  };
  element.addEventListener("pointerup", up);
  element.addEventListener("pointercancel", up);
  element.addEventListener("pointerleave", () => {
    app.pointer = null;
    if (!gesture) {
      app.dropPreview();
      app.light(null);
    }
    app.draw();
  });

  element.addEventListener("wheel", (e) => {
    if (!app.photo) return;
    e.preventDefault();
    const [x, y] = place(e);
    const step = e.deltaMode ? e.deltaY * 24 : e.deltaY;
    if (e.shiftKey && !e.ctrlKey) move(pan(app.view, -step, 0));
    else move(zoom(app.view, Math.exp(-step * (e.ctrlKey ? 0.01 : 0.0016)), x, y));
  }, { passive: false });

  addEventListener("keydown", (e) => {
    if (e.code !== "Space" || e.target !== element || !app.photo || app.cursor) return;
    space = true;
    e.preventDefault();
    cursor();
  });
  addEventListener("keyup", (e) => {
    if (e.code === "Space") space = false;
    cursor();
  });
  return cursor;
}

function pinch(down) {
  const [[ax, ay], [bx, by]] = down.values();
  return { x: (ax + bx) / 2, y: (ay + by) / 2, span: Math.max(1, Math.hypot(ax - bx, ay - by)) };
}

const round = ([x, y]) => [Math.round(x * 10) / 10, Math.round(y * 10) / 10];
