// Open photos and their objects, kept in the browser (IndexedDB) until they are closed.
//
// An entry: {key, name, blob, thumb: Blob | null, doc, time}; doc: see `state.js`.

const NAME = "sam-hub", STORE = "photos", MOST = 24;

const done = (request) => new Promise((resolve, reject) => {
  request.onsuccess = () => resolve(request.result);
  request.onerror = () => reject(request.error);
});

export class PhotoStore {
  /** Open the store; null if the browser has none, as in some private windows. */
  static async open() {
    try {
      const request = indexedDB.open(NAME, 1);
      request.onupgradeneeded = () => request.result.createObjectStore(STORE, { keyPath: "key", autoIncrement: true });
      return new PhotoStore(await done(request));
    } catch {
      return null;
    }
  }

  constructor(base) {
    this.base = base;
  }

  store(mode) {
    return this.base.transaction(STORE, mode).objectStore(STORE);
  }

  /** All entries, oldest first. */
  entries() {
    return done(this.store("readonly").getAll());
  }

  /** Add or update an entry; returns its key. Beyond `MOST` entries the oldest are removed. */
  async put(entry) {
    const key = await done(this.store("readwrite").put({ ...entry, time: Date.now() }));
    const keys = await done(this.store("readonly").getAllKeys());
    for (const old of keys.slice(0, Math.max(0, keys.length - MOST))) if (old !== key) await this.remove(old);
    return key;
  }

  remove(key) {
    return done(this.store("readwrite").delete(key));
  }
}

/** A stored document, without references to low-res masks, which no longer exist. */
export function revived(doc) {
  const objects = doc.objects.map((o) => ({ ...o, refine: null, answer: o.answer && { ...o.answer, result: null } }));
  return { ...doc, objects };
}
