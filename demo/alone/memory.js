// Caches: the last encoded photos and, for each, the low-res masks of its last prompts, which refining starts from.
import { Failure, GONE } from "../page/failure.js";
import { Enlarger } from "./enlarge.js";
import { sizeInFrame } from "./prepare.js";

const PHOTOS = 4, RESULTS = 24;

const randomKey = () => crypto.getRandomValues(new Uint32Array(4)).join("-");

/** Least-recently-used cache of `most` entries. */
class Lru {
  constructor(most) {
    Object.assign(this, { most, map: new Map() });
  }
  get(key) {
    const value = this.map.get(key);
    if (value !== undefined) {
      this.map.delete(key);
      this.map.set(key, value);
    }
    return value;
  }
  set(key, value) {
    this.map.set(key, value);
    if (this.map.size > this.most) this.map.delete(this.map.keys().next().value);
  }
}

export class Photo {
  /** blob: the file; size: [height, width]; held: encoder outputs that the decoder takes; closer: {window, held} of the last part looked at */
  constructor(blob, size, model, held) {
    Object.assign(this, { blob, size, model, held, results: new Lru(RESULTS), enlargers: new Lru(4), last: null, closer: null });
  }

  remember(result) {
    const key = randomKey(); // unique: a photo that is encoded again must not match old results
    this.results.set(key, result);
    return key;
  }

  enlarger(size, side) {
    const key = `${size} ${side}`;
    if (!this.enlargers.get(key)) this.enlargers.set(key, enlargerOf(this.model, this.size, size, side));
    return this.enlargers.get(key);
  }
}

/** From low-res masks of an image to `to`, its size or a smaller one. */
export function enlargerOf({ how }, size, to, side) {
  const frame = sizeInFrame(how, size);
  return new Enlarger([side, side], how.padded_frame ?? frame, frame, to, how.mask_resize);
}

export class Photos {
  constructor() {
    this.known = new Lru(PHOTOS);
  }
  add(photo) {
    const key = randomKey();
    this.known.set(key, photo);
    return key;
  }
  drop(key) {
    this.known.map.delete(key);
  }
  dropThoseOf(model) {
    for (const [key, photo] of this.known.map) if (photo.model === model) this.drop(key);
  }
  get(key) {
    const photo = this.known.get(key);
    if (!photo) throw new Failure(GONE, "the photo is no longer loaded; open it again");
    return photo;
  }
}
