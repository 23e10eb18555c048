// Decodes a photo and reads its pixels in bands, so that a large photo is never in memory twice.
import { Failure } from "../page/failure.js";

const BAND = 256;

/**
 * Open a photo. limits: {pixels}; part: [x0, y0, x1, y1] in pixels, or all of it
 * returns: {size: [height, width] of the part, rows(top, count): its RGBA, close()}
 */
export async function openPicture(blob, limits, part = null) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(blob, { imageOrientation: "from-image", colorSpaceConversion: "none", premultiplyAlpha: "none" });
  } catch {
    throw new Failure(400, "this file is not a photo that this browser can read; use JPEG, PNG, WebP, GIF or BMP");
  }
  const { width, height } = bitmap, millions = (n) => Math.round(n / 1e6);
  if (width * height > limits.pixels) {
    bitmap.close();
    throw new Failure(413, `the photo has ${millions(width * height)} million pixels, more than the ${millions(limits.pixels)} million allowed; scale it down`);
  }
  const [x0, y0, x1, y1] = part ?? [0, 0, width, height], [w, h] = [x1 - x0, y1 - y0];
  const context = new OffscreenCanvas(w, Math.min(h, BAND)).getContext("2d", { willReadFrequently: true, alpha: false });
  const rows = (top, count) => {
    if (count > BAND) throw new RangeError(`${count} rows at once`);
    context.drawImage(bitmap, x0, y0 + top, w, count, 0, 0, w, count);
    return context.getImageData(0, 0, w, count).data;
  };
  return { size: [h, w], rows, close: () => bitmap.close() };
}
