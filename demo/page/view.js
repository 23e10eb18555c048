// The view transform: x_screen = x_photo * scale + x. Pure functions.

const SMALLEST = 0.02, LARGEST = 40, MARGIN = { left: 72, top: 20, right: 20, bottom: 62 }, NARROW = { left: 8, top: 8, right: 8, bottom: 116 };

/** Fit the whole photo, centred, at no more than twice its size. */
export function fit(photo, stage) {
  const m = stage.width < 700 ? NARROW : MARGIN;
  const free = { width: Math.max(40, stage.width - m.left - m.right), height: Math.max(40, stage.height - m.top - m.bottom) };
  const scale = Math.min(free.width / photo.width, free.height / photo.height, 2);
  return {
    scale,
    x: m.left + (free.width - photo.width * scale) / 2,
    y: m.top + (free.height - photo.height * scale) / 2,
  };
}

export const toPhoto = (view, x, y) => [(x - view.x) / view.scale, (y - view.y) / view.scale];
export const toScreen = (view, x, y) => [x * view.scale + view.x, y * view.scale + view.y];
export const inside = (photo, x, y) => x >= 0 && y >= 0 && x <= photo.width && y <= photo.height;
export const clamp = (v, low, high) => Math.min(high, Math.max(low, v));
export const into = (photo, x, y) => [clamp(x, 0, photo.width), clamp(y, 0, photo.height)];

/** Zoom about a fixed point of the screen. */
export function zoom(view, factor, x, y) {
  const scale = clamp(view.scale * factor, SMALLEST, LARGEST);
  const by = scale / view.scale;
  return { scale, x: x - (x - view.x) * by, y: y - (y - view.y) * by };
}

export const pan = (view, dx, dy) => ({ ...view, x: view.x + dx, y: view.y + dy });

/** Keep a part of the photo in sight. */
export function keep(view, photo, stage) {
  const edge = 48;
  return {
    ...view,
    x: clamp(view.x, edge - photo.width * view.scale, stage.width - edge),
    y: clamp(view.y, edge - photo.height * view.scale, stage.height - edge),
  };
}

/** A box from two corners, clipped to the photo; null if it is too small to be intended. */
export function boxFrom([x0, y0], [x1, y1], photo, least) {
  const [a, b] = into(photo, Math.min(x0, x1), Math.min(y0, y1));
  const [c, d] = into(photo, Math.max(x0, x1), Math.max(y0, y1));
  return c - a >= least && d - b >= least ? [a, b, c, d].map((v) => Math.round(v * 10) / 10) : null;
}
