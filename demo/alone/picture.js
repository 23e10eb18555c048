// Decodes a photo and reads its pixels in bands, so that a large photo is never in memory twice.
import { Failure } from "../page/failure.js";

const BAND = 256;

/** Open a photo. limits: {pixels}; returns {size: [height, width], rows(top, count): RGBA, close()} */
export async function openPicture(blob, limits) {
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
  const context = new OffscreenCanvas(width, Math.min(height, BAND)).getContext("2d", { willReadFrequently: true, alpha: false });
  const rows = (top, count) => {
    if (count > BAND) throw new RangeError(`${count} rows at once`);
    context.drawImage(bitmap, 0, top, width, count, 0, 0, width, count);
    return context.getImageData(0, 0, width, count).data;
  };
  return { size: [height, width], rows, close: () => bitmap.close() };
}
