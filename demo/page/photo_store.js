// The photos that were opened and what was found in them, kept in this browser (IndexedDB) until they are put away.
//
// An entry: {key, name, blob, thumb: Blob | null, doc, time}; doc is a document of `state.js`.

const NAME = "sam-hub", STORE = "photos", MOST = 24;

const done = (request) => new Promise((resolve, reject) => {
  request.onsuccess = () => resolve(request.result);
  request.onerror = () => reject(request.error);
});

export class PhotoStore {
  /** null where the browser keeps nothing, as in some private windows. */
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

  /** All entries, the oldest first. */
  entries() {
    return done(this.store("readonly").getAll());
  }

  /** Put an entry in, or a changed one; returns its key. The oldest go where there are too many. */
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

/** A document that was kept: what its answers could be gone on from is known to nobody any more. */
export function revived(doc) {
  const objects = doc.objects.map((o) => ({ ...o, refine: null, answer: o.answer && { ...o.answer, result: null } }));
  return { ...doc, objects };
}
