// Queue of masks to save on the server: one at a time, retried until stored, kept in the browser meanwhile.

const PAUSES = [500, 1000, 2000, 4000, 8000]; // ms before each retry
const TEMPORARY = (status) => status === 0 || status === 429 || status >= 500;

export class Outbox {
  /** name: of the project; send(item): stores one item; changed(): the queue or its state changed; refused(e): an item cannot be stored */
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

  /** Queue an item; it replaces a queued older version of the same object. */
  put(item) {
    const at = this.items.findIndex((other, i) => other.object === item.object && other.photo === item.photo && !(this.busy && i === 0));
    if (at < 0) this.items.push(item);
    else this.items[at] = item;
    this.#store();
    this.#pump();
  }

  /** Call `run` once everything is stored. A later call replaces an earlier one. */
  whenEmpty(run) {
    this.waiting = run;
    if (this.items.length) this.#pump();
    else this.#empty();
  }

  /** Retry now. */
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
        if (e.status === 401) break; // the page reloads to sign in, and then continues
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
      // storage is full or disabled: the queue lives only in this page
    }
  }
}
