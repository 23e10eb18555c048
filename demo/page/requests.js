// Scheduling of requests: previews one at a time, with only the newest queued; answers to every prompt that has none.

/** Runs one task at a time and queues only the newest. At most one task starts every `gap` ms. */
export class Newest {
  constructor(run, gap = 0, now = () => performance.now()) {
    Object.assign(this, { run, gap, now, busy: false, next: null, began: -Infinity, timer: null });
  }

  push(task) {
    this.next = task;
    this.go();
  }

  drop() {
    this.next = null;
    clearTimeout(this.timer);
    this.timer = null;
  }

  async go() {
    if (this.busy || this.next === null || this.timer !== null) return;
    const wait = this.began + this.gap - this.now();
    if (wait > 0) {
      this.timer = setTimeout(() => {
        this.timer = null;
        this.go();
      }, wait);
      return;
    }
    const task = this.next;
    this.next = null;
    this.busy = true;
    this.began = this.now();
    try {
      await this.run(task);
    } finally {
      this.busy = false;
      this.go();
    }
  }
}

/**
 * Asks about one wanted item after another until none is left; items that failed are not asked about again.
 * ask(item, signal): false if it failed; abandon: whether to abort as soon as the item is no longer wanted
 */
export class Answers {
  constructor(wanted, ask, abandon = false) {
    Object.assign(this, { wanted, ask, abandon, busy: false, failed: new Set(), asked: null, stop: null });
  }

  async go() {
    if (this.busy) {
      if (this.abandon && this.asked && !this.wanted().some((o) => o.rev === this.asked.rev && o.id === this.asked.id)) this.stop.abort();
      return;
    }
    this.busy = true;
    try {
      for (;;) {
        const item = this.wanted().find((o) => !this.failed.has(o.rev));
        if (!item) break;
        [this.asked, this.stop] = [item, new AbortController()];
        if ((await this.ask(item, this.stop.signal)) === false) this.failed.add(item.rev);
      }
    } finally {
      this.busy = false;
    }
  }
}
