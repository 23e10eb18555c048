// Masks on their way to the server: one after the other, again until they are stored, and kept in the browser meanwhile.

const PAUSES = [500, 1000, 2000, 4000, 8000]; // ms before the next try
const TEMPORARY = (status) => status === 0 || status === 429 || status >= 500;

export class Outbox {
  /** name: of the project; send(item): stores one; changed(): something is stored or not; refused(e): an item cannot be stored */
  constructor({ name, send, changed, refused, storage = localStorage, wait = (ms) => new Promise((done) => setTimeout(done, ms)) }) {
    Object.assign(this, { key: `sam-hub.outbox.${name}`, send, changed, refused, storage, wait, busy: false, failures: 0, trouble: null, waiting: null, wake: null });
    this.items = this.#load();
  }

  get size() {
    return this.items.length;
  }

  has(object) {
    return this.items.some((item) => item.object === object);
  }

  /** A newer version of an object that waits takes the place of the older one. */
  put(item) {
    const at = this.items.findIndex((other, i) => other.object === item.object && other.photo === item.photo && !(this.busy && i === 0));
    if (at < 0) this.items.push(item);
    else this.items[at] = item;
    this.#store();
    this.#pump();
  }

  /** Once everything is stored. A later call takes the place of an earlier one. */
  whenEmpty(run) {
    this.waiting = run;
    if (this.items.length) this.#pump();
    else this.#empty();
  }

  /** Try again at once. */
  hurry() {
    this.wake?.();
  }

  async #pump() {
    if (this.busy) return;
    this.busy = true;
    while (this.items.length) {
      const [item] = this.items;
      try {
        await this.send(item);
        this.failures = 0;
        this.trouble = null;
      } catch (e) {
        if (TEMPORARY(e.status)) {
          this.trouble = e.message;
          this.changed();
          await Promise.race([this.wait(PAUSES[Math.min(this.failures++, PAUSES.length - 1)]), new Promise((done) => (this.wake = done))]);
          continue;
        }
        if (e.status === 401) break; // the page is loaded anew, and goes on
        this.refused(e);
      }
      this.items.shift();
      this.#store();
      this.changed();
    }
    this.busy = false;
    if (!this.items.length) this.#empty();
  }

  #empty() {
    const run = this.waiting;
    this.waiting = null;
    run?.();
  }

  #load() {
    try {
      return JSON.parse(this.storage.getItem(this.key)) ?? [];
    } catch {
      return [];
    }
  }

  #store() {
    try {
      if (this.items.length) this.storage.setItem(this.key, JSON.stringify(this.items));
      else this.storage.removeItem(this.key);
    } catch {
      // full or switched off: they stay on this page
    }
  }
}
