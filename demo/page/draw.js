// The two canvases: the photo, redrawn when the view moves, and the overlay.
import { COLORS, maskOf } from "./state.js";
import { toScreen } from "./view.js";

const paths = new WeakMap();

/** The outline of a mask, cached. */
export function pathOf(mask) {
  if (!paths.has(mask)) paths.set(mask, new Path2D(mask.path));
  return paths.get(mask);
}

const lines = new WeakMap();

/** The outline to stroke, without specks: stroking each would hide more than it shows. */
function lineOf(mask, photo) {
  if (!lines.has(mask)) {
    const least = Math.max(photo.width, photo.height) * 0.012;
    const rings = mask.path.match(/M[^Z]*Z/g) ?? [], long = rings.filter((ring) => extent(ring) >= least);
    lines.set(mask, long.length && long.length < rings.length ? new Path2D(long.join("")) : pathOf(mask));
  }
  return lines.get(mask);
}

/** The longer side of a ring's bounding box. */
function extent(ring) {
  const low = [Infinity, Infinity], high = [-Infinity, -Infinity];
  ring.slice(1, -1).trim().split(" ").forEach((text, i) => {
    const v = Number(text), axis = i % 2;
    if (v < low[axis]) low[axis] = v;
    if (v > high[axis]) high[axis] = v;
  });
  return Math.max(high[0] - low[0], high[1] - low[1]);
}

export class Drawing {
  constructor(photo, overlay) {
    this.photo = photo.getContext("2d", { alpha: true });
    this.over = overlay.getContext("2d");
    this.masks = document.createElement("canvas").getContext("2d"); // cached while only the preview changes
    this.drawn = []; // inputs of the cached drawing
    this.size = { width: 0, height: 0 };
    this.ratio = 1;
  }

  /** Fit the canvases to their element; returns whether the size changed. */
  resize(box) {
    const ratio = Math.min(window.devicePixelRatio || 1, 2);
    if (box.width === this.size.width && box.height === this.size.height && ratio === this.ratio) return false;
    this.size = { width: box.width, height: box.height };
    this.ratio = ratio;
    for (const { canvas } of [this.photo, this.over, this.masks]) {
      canvas.width = Math.round(box.width * ratio);
      canvas.height = Math.round(box.height * ratio);
    }
    return true;
  }

  drawPhoto(app) {
    const c = this.photo, { view } = app;
    c.setTransform(1, 0, 0, 1, 0, 0);
    c.clearRect(0, 0, c.canvas.width, c.canvas.height);
    if (!app.photo) return;
    c.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    const w = app.photo.width * view.scale, h = app.photo.height * view.scale;
    c.shadowColor = "rgb(0 0 0 / 22%)";
    c.shadowBlur = 22 * this.ratio;
    c.shadowOffsetY = 5 * this.ratio;
    c.fillStyle = "#888";
    c.fillRect(view.x, view.y, w, h);
    c.shadowColor = "transparent";
    c.imageSmoothingEnabled = view.scale < 3;
    c.imageSmoothingQuality = "high";
    c.drawImage(app.photo.bitmap, view.x, view.y, w, h);
  }

  drawOver(app) {
    const c = this.over;
    c.setTransform(1, 0, 0, 1, 0, 0);
    c.clearRect(0, 0, c.canvas.width, c.canvas.height);
    if (!app.photo) return;
    const doc = app.history.present;
    const from = [doc, app.early, app.found.shown, app.found.lit, app.photo, app.view, app.tab, app.opacity, this.size, this.ratio];
    if (from.some((v, i) => v !== this.drawn[i])) {
      this.drawn = from;
      this.drawMasks(app, doc);
    }
    c.drawImage(this.masks.canvas, 0, 0);
    if (app.preview && app.tab === "objects") this.clipped(c, app, () => this.mask(c, app, app.preview, app.nextColor(), { preview: true }));
    this.screen();
    const o = doc.objects.find((each) => each.id === doc.selected);
    for (const each of doc.objects) { // objects without a mask yet show their clicks
      if (each !== o && !each.answer && each.visible && app.tab === "objects") for (const p of each.points) this.pin(toScreen(app.view, p.x, p.y), p.label);
    }
    if (o && app.tab === "objects") {
      const marks = { ...o, ...app.draft?.marks };
      if (marks.box) this.box(app, marks.box, o.color, app.tool !== "brush");
      for (const p of marks.points) this.pin(toScreen(app.view, p.x, p.y), p.label);
      if (app.tool === "brush") for (const s of o.strokes) this.stroke(app, s, o.color);
    }
    if (app.draft?.stroke) this.stroke(app, app.draft.stroke, app.nextColor());
    if (app.draft?.box) this.box(app, app.draft.box, app.nextColor());
    if (app.tool === "brush" && app.pointer && !app.cursor) this.ring(app.pointer, app.brush / 2);
    if (app.cursor) this.cross(app);
  }

  drawMasks(app, doc) {
    const c = this.masks;
    c.setTransform(1, 0, 0, 1, 0, 0);
    c.clearRect(0, 0, c.canvas.width, c.canvas.height);
    this.clipped(c, app, () => {
      if (app.tab === "everything" && app.found.masks) return this.drawFound(c, app);
      for (const o of doc.objects) {
        if (!o.visible) continue;
        const known = maskOf(o) ?? app.early.get(o.rev), mask = known ?? o.last;
        if (mask) this.mask(c, app, mask, o.color, { strong: o.id === doc.selected, faint: !known, tint: o.id === doc.selected ? 1 : 0.6 });
      }
    });
  }

  /** Draw clipped to the photo, so that outlines along its border do not frame it. */
  clipped(c, app, draw) {
    this.inPhoto(c, app.view);
    c.save();
    c.beginPath();
    c.rect(0, 0, app.photo.width, app.photo.height);
    c.clip();
    draw();
    c.restore();
  }

  /** Draw in pixels of the photo. */
  inPhoto(c, view) {
    const r = this.ratio;
    c.setTransform(view.scale * r, 0, 0, view.scale * r, view.x * r, view.y * r);
  }

  screen() {
    this.over.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
  }

  mask(c, app, mask, color, { strong = false, preview = false, faint = false, tint = 1 } = {}) {
    const path = pathOf(mask), line = lineOf(mask, app.photo), px = 1 / app.view.scale;
    c.lineJoin = "round";
    c.globalAlpha = app.opacity * (preview ? 0.75 : faint ? 0.5 : 1) * tint;
    c.fillStyle = color;
    c.fill(path, "evenodd");
    c.globalAlpha = (preview ? 0.9 : faint ? 0.5 : 1) * Math.max(tint, 0.35);
    c.strokeStyle = "rgb(12 16 22 / 38%)";
    c.lineWidth = (strong ? 4.2 : 3.2) * px;
    c.stroke(line);
    c.strokeStyle = lighter(color);
    c.lineWidth = (strong ? 2.2 : 1.4) * px;
    if (preview) c.setLineDash([6 * px, 4 * px]);
    c.stroke(line);
    c.setLineDash([]);
    c.globalAlpha = 1;
  }

  drawFound(c, app) {
    const lit = app.found.lit;
    for (const m of app.found.shown) {
      if (m !== lit) this.mask(c, app, m, COLORS[m.key % COLORS.length], { tint: lit ? 0.2 : 0.8 });
    }
    if (lit) this.mask(c, app, lit, COLORS[lit.key % COLORS.length], { strong: true, tint: 1.4 });
  }

  pin([x, y], label) {
    const c = this.over;
    c.fillStyle = "rgb(20 24 32 / 32%)";
    disc(c, x, y + 0.5, 9);
    c.fillStyle = "#fff";
    disc(c, x, y, 8);
    c.fillStyle = label ? "#18aa54" : "#e13238";
    disc(c, x, y, 6.4);
    c.fillStyle = "#fff";
    c.fillRect(x - 3.5, y - 0.9, 7, 1.8);
    if (label) c.fillRect(x - 0.9, y - 3.5, 1.8, 7);
  }

  box(app, [x0, y0, x1, y1], color, handles = false) {
    const c = this.over, [a, b] = toScreen(app.view, x0, y0), [d, e] = toScreen(app.view, x1, y1);
    c.lineWidth = 3.4;
    c.strokeStyle = "rgb(12 16 22 / 35%)";
    c.strokeRect(a, b, d - a, e - b);
    c.lineWidth = 1.8;
    c.strokeStyle = lighter(color, 0.55);
    c.strokeRect(a, b, d - a, e - b);
    for (const [x, y] of handles ? [[a, b], [d, b], [d, e], [a, e]] : []) {
      c.fillStyle = "#fff";
      c.fillRect(x - 4, y - 4, 8, 8);
      c.lineWidth = 1.5;
      c.strokeStyle = color;
      c.strokeRect(x - 4, y - 4, 8, 8);
    }
  }

  stroke(app, stroke, color) {
    const c = this.over;
    this.inPhoto(c, app.view);
    c.globalAlpha = 0.45;
    c.strokeStyle = c.fillStyle = stroke.erase ? "#e13238" : lighter(color, 0.3);
    c.lineWidth = stroke.radius * 2;
    c.lineCap = c.lineJoin = "round";
    c.beginPath();
    stroke.points.forEach(([x, y], i) => (i ? c.lineTo(x, y) : c.moveTo(x, y)));
    if (stroke.points.length === 1) c.lineTo(stroke.points[0][0] + 0.01, stroke.points[0][1]);
    c.stroke();
    c.globalAlpha = 1;
    this.screen();
  }

  ring([x, y], radius) {
    const c = this.over;
    for (const [width, style] of [[3, "rgb(12 16 22 / 40%)"], [1.4, "#fff"]]) {
      c.lineWidth = width;
      c.strokeStyle = style;
      c.beginPath();
      c.arc(x, y, Math.max(radius, 2), 0, 2 * Math.PI);
      c.stroke();
    }
  }

  cross(app) {
    const c = this.over, [x, y] = toScreen(app.view, ...app.cursor);
    for (const [width, style] of [[4, "rgb(12 16 22 / 45%)"], [1.8, "#fff"]]) {
      c.lineWidth = width;
      c.strokeStyle = style;
      c.beginPath();
      for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
        c.moveTo(x + dx * 5, y + dy * 5);
        c.lineTo(x + dx * 15, y + dy * 15);
      }
      c.stroke();
    }
    if (app.tool === "brush") this.ring([x, y], app.brush / 2);
  }

  /** The smallest mask that contains a point of the photo, or null. */
  hit(masks, x, y) {
    this.over.setTransform(1, 0, 0, 1, 0, 0);
    let best = null;
    for (const m of masks) {
      const [bx, by, bw, bh] = m.bbox;
      if (x < bx || y < by || x > bx + bw || y > by + bh || (best && m.area >= best.area)) continue;
      if (this.over.isPointInPath(pathOf(m), x, y, "evenodd")) best = m;
    }
    return best;
  }
}

/** A thumbnail of a mask: the object cut out of the photo, or its shape in a colour. */
export function drawThumb(canvas, photo, mask, { color = null, cut = true } = {}) {
  const ratio = Math.min(window.devicePixelRatio || 1, 2);
  const { width, height } = canvas.dataset.size ? JSON.parse(canvas.dataset.size) : { width: canvas.width, height: canvas.height };
  canvas.dataset.size = JSON.stringify({ width, height });
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  const c = canvas.getContext("2d");
  if (!mask?.area) return;
  const [x, y, w, h] = mask.bbox, inset = 3;
  const scale = Math.min((width - 2 * inset) / w, (height - 2 * inset) / h);
  c.setTransform(scale * ratio, 0, 0, scale * ratio, ((width - w * scale) / 2 - x * scale) * ratio, ((height - h * scale) / 2 - y * scale) * ratio);
  const path = pathOf(mask);
  if (cut) {
    c.save();
    c.clip(path, "evenodd");
    c.imageSmoothingQuality = "high";
    c.drawImage(photo.bitmap, x, y, w, h, x, y, w, h);
    c.restore();
  }
  if (color) {
    c.fillStyle = c.strokeStyle = color;
    c.globalAlpha = cut ? 1 : 0.75;
    c.lineWidth = 1.5 / scale;
    if (cut) c.stroke(path);
    else c.fill(path, "evenodd");
  }
}

function disc(c, x, y, radius) {
  c.beginPath();
  c.arc(x, y, radius, 0, 2 * Math.PI);
  c.fill();
}

export function lighter(color, by = 0.3) {
  const parts = [1, 3, 5].map((i) => parseInt(color.slice(i, i + 2), 16));
  return `rgb(${parts.map((v) => Math.round(v + (255 - v) * by)).join(" ")})`;
}
