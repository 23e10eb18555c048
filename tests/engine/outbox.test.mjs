// The outbox of project mode without a page: node tests/engine/outbox.test.mjs
import assert from "node:assert/strict";
import test from "node:test";
import { Outbox } from "../../demo/page/outbox.js";

const storage = () => {
  const held = new Map();
  return { held, getItem: (k) => held.get(k) ?? null, setItem: (k, v) => held.set(k, v), removeItem: (k) => held.delete(k) };
};
const item = (object, request, photo = 1) => ({ object, request, photo });
const settle = () => new Promise((done) => setTimeout(done, 20));
const until = async (true_) => {
  for (let tries = 0; !true_() && tries < 500; tries++) await settle();
};

function outbox(send, more = {}) {
  const kept = storage(), log = { refused: [], waits: [] };
  const wait = (ms) => (log.waits.push(ms), settle());
  return [new Outbox({ name: "p", send, changed: () => {}, refused: (e) => log.refused.push(e.status), storage: kept, wait, ...more }), kept, log];
}

test("one after the other, and empty at last", async () => {
  const sent = [];
  const [box, kept] = outbox(async ({ request }) => {
    await settle();
    sent.push(request);
  });
  let empty = 0;
  box.put(item("a", 1));
  box.put(item("b", 2));
  assert.equal(kept.held.size, 1);
  box.whenEmpty(() => empty++);
  assert.equal(empty, 0);
  await until(() => empty);
  assert.deepEqual([sent, empty, box.size, kept.held.size], [[1, 2], 1, 0, 0]);
});

test("what waits gives way to a newer version, what is on its way does not", async () => {
  const sent = [];
  const [box] = outbox(async ({ request }) => {
    await settle();
    sent.push(request);
  });
  for (const n of [1, 2, 3]) box.put(item("a", n));
  await until(() => !box.size);
  assert.deepEqual(sent, [1, 3]);
});

test("tried again while the server is away or full, and kept", async () => {
  let away = 3;
  const tried = [];
  const [box, kept, log] = outbox(async ({ request }) => {
    tried.push(request);
    if (away-- > 0) throw Object.assign(new Error("away"), { status: [0, 507, 503][away] });
  });
  box.put(item("a", 1));
  await until(() => box.trouble);
  assert.equal(box.trouble, "away");
  assert.equal(JSON.parse(kept.held.get("sam-hub.outbox.p"))[0].request, 1);
  await until(() => !box.size);
  assert.deepEqual([tried, box.size, box.trouble, log.waits], [[1, 1, 1, 1], 0, null, [500, 1000, 2000]]);
});

test("what can never be stored is told, and does not stop the rest", async () => {
  const sent = [];
  const [box, , log] = outbox(async ({ request }) => {
    if (request === 1) throw Object.assign(new Error("wrong"), { status: 400 });
    sent.push(request);
  });
  box.put(item("a", 1));
  box.put(item("b", 2));
  await until(() => !box.size);
  assert.deepEqual([sent, log.refused, box.size], [[2], [400], 0]);
});

test("a page that is loaded again sends what the one before could not, under the same request", async () => {
  const kept = storage(), sent = [];
  const [first] = outbox(async () => Promise.reject(Object.assign(new Error("x"), { status: 401 })), { storage: kept });
  first.put(item("a", 7));
  await settle();
  const [second] = outbox(async ({ request }) => sent.push(request), { storage: kept });
  second.whenEmpty(() => {});
  await until(() => !second.size);
  assert.deepEqual([sent, kept.held.size], [[7], 0]);
});
