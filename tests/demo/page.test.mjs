// The pure parts of the page: node --test --experimental-default-type=module tests/demo/page.test.mjs
import assert from "node:assert/strict";
import test from "node:test";
import { Answers, Newest } from "../../demo/page/requests.js";
import { markAt, moved, without } from "../../demo/page/marks.js";
import { revived } from "../../demo/page/photo_store.js";
import * as s from "../../demo/page/state.js";
import * as v from "../../demo/page/view.js";

const answer = (n = 3, result = "r") => ({ result, best: 1, masks: Array.from({ length: n }, (_, i) => ({ score: i / 10, area: 5, bbox: [0, 0, 1, 5], path: `M${i}` })) });
const clicked = (history, x, y, label = 1) => s.change(history, s.addPoint(history.present, x, y, label));

test("a click makes an object, an answer finds it, undo and redo keep answers", () => {
  let h = clicked(s.newHistory(), 10, 20);
  const [o] = h.present.objects;
  assert.deepEqual(o.points, [{ x: 10, y: 20, label: 1 }]);
  assert.deepEqual(s.promptOf(o), { points: [[10, 20]], labels: [1] });
  h = s.settle(h, o.id, o.rev, answer());
  assert.equal(s.maskOf(h.present.objects[0]).path, "M1");
  h = clicked(h, 30, 40, 0);
  const again = h.present.objects[0];
  assert.deepEqual(s.promptOf(again).refine, { result: "r", mask: 1 });
  assert.equal(s.waiting(h.present).length, 1);
  h = s.undo(h);
  assert.equal(s.waiting(h.present).length, 0);
  assert.equal(s.maskOf(h.present.objects[0]).path, "M1");
  h = s.settle(h, again.id, again.rev, answer(4, "late")); // it arrives after the undo
  assert.equal(h.present.objects[0].answer.result, "r");
  h = s.redo(h);
  assert.equal(h.present.objects[0].answer.result, "late");
  assert.equal(s.redo(h), h);
  h = s.undo(s.undo(h));
  assert.equal(h.present.objects.length, 0);
  assert.equal(s.undo(h), h);
});

test("an answer to an older prompt is not taken for the newer", () => {
  let h = clicked(s.newHistory(), 1, 1);
  const old = h.present.objects[0];
  h = clicked(h, 2, 2);
  h = s.settle(h, old.id, old.rev, answer());
  assert.equal(h.present.objects[0].answer, null);
});

test("a change forgets what was undone", () => {
  let h = clicked(clicked(s.newHistory(), 1, 1), 2, 2);
  h = clicked(s.undo(h), 3, 3);
  assert.equal(h.future.length, 0);
  assert.deepEqual(h.present.objects[0].points.map((p) => p.x), [1, 3]);
});

test("several objects: begin, select, name, choose, clear, remove", () => {
  let d = s.addPoint(s.emptyDocument(), 1, 1, 1);
  d = s.begin(d);
  assert.equal(s.begin(d), d); // an empty one is there already
  d = s.setBox(d, [0, 0, 5, 5]);
  assert.equal(d.objects.length, 2);
  assert.notEqual(d.objects[0].color, d.objects[1].color);
  d = s.rename(d, 2, "cup");
  assert.deepEqual(d.objects.map(s.nameOf), ["Object 1", "cup"]);
  d = s.settle({ past: [], present: d, future: [] }, 2, d.objects[1].rev, answer()).present;
  assert.equal(s.choose(d, 2, 7), d);
  assert.equal(s.maskOf(s.choose(d, 2, 0).objects[1]).path, "M0");
  d = s.clear(d, 2);
  assert.equal(d.objects[1].name, "cup");
  assert.ok(!s.hasPrompt(d.objects[1]) && s.clear(d, 2) === d);
  d = s.remove(d, 2);
  assert.equal(d.selected, 1);
  assert.equal(s.remove(s.remove(d, 1), 1).objects.length, 0);
});

test("known masks become objects that a click can go on from", () => {
  const mask = answer().masks[0];
  let d = s.addMasks(s.emptyDocument(), [{ ...mask, key: 4, points: [[3, 4]] }, { ...mask, name: "cat" }], "found");
  assert.equal(s.waiting(d).length, 0);
  assert.deepEqual(d.objects.map((o) => [o.points.length, o.box, o.name]), [[1, null, ""], [0, [0, 0, 1, 5], "cat"]]);
  d = s.addPoint(d, 9, 9, 0);
  assert.deepEqual(s.promptOf(d.objects[1]), { points: [[9, 9]], labels: [0], box: [0, 0, 1, 5] });
});

test("a closer look is part of the prompt: kept by later clicks, undone, and not the next object's", () => {
  let h = clicked(s.newHistory(), 10, 20);
  h = s.settle(h, 1, h.present.objects[0].rev, answer());
  h = s.change(h, s.choose(h.present, 1, 0));
  const before = h.present.objects[0];
  h = s.change(h, s.setZoom(h.present, 1, true));
  const [o] = h.present.objects;
  assert.deepEqual(s.promptOf(o, true), { points: [[10, 20]], labels: [1], zoom: true, tidy: true });
  assert.equal(s.waiting(h.present).length, 1);
  assert.equal(o.last, s.maskOf(before));
  h = s.settle(h, 1, o.rev, { ...answer(), best: 0, window: [0, 0, 9, 9] });
  assert.equal(h.present.objects[0].chosen, 2); // the worst of three before, so the last of those in order
  assert.equal(s.setZoom(h.present, 1, true), h.present);
  h = clicked(h, 30, 40, 0);
  assert.deepEqual(s.promptOf(h.present.objects[0]), { points: [[10, 20], [30, 40]], labels: [1, 0], zoom: true }); // without `refine`
  assert.equal(s.addPoint(s.begin(h.present), 5, 5, 1).objects[1].zoom, false);
  const painted = s.addStroke(h.present, { points: [[1, 1]], radius: 2 });
  assert.equal(painted.objects[0].zoom, false);
  assert.equal(s.setZoom(painted, 1, true), painted);
  assert.equal(s.clear(h.present, 1).objects[0].zoom, false);
  h = s.undo(s.undo(h));
  assert.equal(h.present.objects[0], before);
  assert.equal(revived(s.redo(h).present).objects[0].zoom, true);
  assert.equal(s.setZoom(s.emptyDocument(), 1, true).objects.length, 0);
});

test("with a mask for precise prompts, the candidates after it are in order when looked at closer", () => {
  let h = clicked(clicked(s.newHistory(), 1, 1), 2, 2, 0);
  const scores = [0.1, 0.3, 0.9, 0.5], masks = scores.map((score) => ({ score, area: 5, bbox: [0, 0, 1, 5], path: "M" }));
  h = s.settle(h, 1, h.present.objects[0].rev, { result: "r", best: 0, masks });
  const kept = [0, 1, 2, 3].map((i) => s.setZoom(s.choose(h.present, 1, i), 1, true).objects[0].kept);
  assert.deepEqual(kept, [0, 3, 1, 2]);
});

test("a mask that was found brings its box to a closer look", () => {
  const mask = answer().masks[0], d = s.addMasks(s.emptyDocument(), [{ ...mask, key: 4, points: [[3, 4]] }], "found");
  assert.deepEqual(s.promptOf(s.setZoom(d, 1, true).objects[0]), { points: [[3, 4]], labels: [1], box: [0, 0, 1, 5], zoom: true });
});

test("a closer look that is cancelled leaves what was there before", () => {
  let h = clicked(s.newHistory(), 1, 1);
  h = s.settle(h, 1, h.present.objects[0].rev, answer());
  const before = h, zoomed = s.change(h, s.setZoom(h.present, 1, true));
  assert.deepEqual(s.cancelZoom(zoomed, 1), { ...before, future: [] });
  const clickedAfter = clicked(zoomed, 2, 2, 0), left = s.cancelZoom(clickedAfter, 1);
  assert.deepEqual([left.present.objects[0].zoom, left.present.objects[0].points.length, left.past.length], [false, 2, clickedAfter.past.length + 1]);
  assert.equal(s.cancelZoom(before, 1), before);
});

test("what is no longer wanted is abandoned, and what comes after it is asked about", async () => {
  const asked = [], wanted = [{ id: 1, rev: 1 }];
  const answers = new Answers(() => wanted, (o, signal) => new Promise((done) => {
    asked.push(o.rev);
    signal.addEventListener("abort", () => done(true));
    if (o.rev === 2) done(wanted.pop() && true);
  }), true);
  const running = answers.go();
  answers.go(); // still wanted
  assert.equal(answers.stop.signal.aborted, false);
  wanted[0] = { id: 1, rev: 2 };
  answers.go();
  await running;
  assert.deepEqual(asked, [1, 2]);
  assert.equal(answers.failed.size, 0);
});

test("zooming leaves the point under the pointer where it is", () => {
  const view = { scale: 1.5, x: 20, y: -7 }, before = v.toPhoto(view, 300, 200);
  const after = v.toPhoto(v.zoom(view, 1.3, 300, 200), 300, 200);
  before.forEach((value, i) => assert.ok(Math.abs(value - after[i]) < 1e-9));
  assert.deepEqual(v.toScreen(view, ...v.toPhoto(view, 11, 12)).map(Math.round), [11, 12]);
  assert.equal(v.zoom(view, 1e9, 0, 0).scale, 40);
});

test("a photo is fitted into the stage and cannot be lost", () => {
  for (const stage of [{ width: 1200, height: 800 }, { width: 390, height: 470 }]) {
    for (const photo of [{ width: 4000, height: 3000 }, { width: 30, height: 900 }, { width: 60, height: 40 }]) {
      const f = v.fit(photo, stage);
      assert.ok(f.x >= 0 && f.y >= 0 && f.x + photo.width * f.scale <= stage.width + 1e-6 && f.y + photo.height * f.scale <= stage.height + 1e-6);
      const lost = v.keep(v.pan(f, 1e6, -1e6), photo, stage);
      assert.ok(lost.x < stage.width && lost.y + photo.height * lost.scale > 0);
    }
  }
});

test("a box is cut at the border, in any direction, and not made by accident", () => {
  const photo = { width: 100, height: 80 };
  assert.deepEqual(v.boxFrom([120, 70], [-5, 10], photo, 3), [0, 10, 100, 70]);
  assert.equal(v.boxFrom([10, 10], [11, 60], photo, 3), null);
});

test("previews: one at a time, the newest waits, the others are left out", async () => {
  const seen = [], doors = [];
  const newest = new Newest((task) => (seen.push(task), new Promise((open) => doors.push(open))));
  for (const i of [1, 2, 3, 4]) newest.push(i);
  assert.deepEqual(seen, [1]);
  doors.shift()();
  await new Promise((r) => setTimeout(r));
  assert.deepEqual(seen, [1, 4]);
  newest.push(5);
  newest.drop();
  doors.shift()();
  await new Promise((r) => setTimeout(r));
  assert.deepEqual(seen, [1, 4]);
});

test("previews keep their distance", async () => {
  let now = 0;
  const seen = [], newest = new Newest(async (task) => seen.push(task), 20, () => now);
  newest.push(1);
  await Promise.resolve();
  newest.push(2);
  await new Promise((r) => setTimeout(r, 5));
  assert.deepEqual(seen, [1]);
  now = 30;
  await new Promise((r) => setTimeout(r, 40));
  assert.deepEqual(seen, [1, 2]);
});

test("each prompt is asked about once at a time, a failed one not again", async () => {
  let wanted = [{ rev: 1 }, { rev: 2 }];
  const asked = [];
  const answers = new Answers(() => wanted, async (o) => {
    asked.push(o.rev);
    if (o.rev === 2) return false;
    wanted = wanted.filter((w) => w !== o);
    return true;
  });
  await Promise.all([answers.go(), answers.go()]);
  await answers.go();
  assert.deepEqual(asked, [1, 2]);
});

test("only a first click on the very place is what a preview of it answers", () => {
  const one = s.addPoint(s.emptyDocument(), 10, 20.5, 1), click = s.selectedObject(one);
  assert.ok(s.isClick(click, 10, 20.5));
  assert.ok(!s.isClick(click, 10, 20.4));
  assert.ok(!s.isClick(s.selectedObject(s.addPoint(s.emptyDocument(), 10, 20.5, 0)), 10, 20.5));
  assert.ok(!s.isClick(s.selectedObject(s.addPoint(one, 30, 30, 1)), 10, 20.5));
  assert.ok(!s.isClick(s.selectedObject(s.setBox(one, [0, 0, 40, 40])), 10, 20.5));
  assert.ok(!s.isClick(s.selectedObject(s.setBox(s.emptyDocument(), [0, 0, 40, 40])), 10, 20.5));
});

test("a file that is imported twice adds nothing the second time", () => {
  const masks = ["a", "b"].map((counts) => ({ rle: { size: [1, 5], counts }, area: 5, bbox: [0, 0, 5, 1], name: "cup" }));
  const once = s.addMasks(s.emptyDocument(), masks, "file");
  assert.deepEqual(s.newOnes(once, masks), []);
  assert.deepEqual(s.newOnes(once, [{ ...masks[0], name: "plate" }, { ...masks[0], name: "plate" }]).length, 1);
  assert.equal(s.newOnes(s.emptyDocument(), masks).length, 2);
});

test("what was kept goes on without the answers of another visit", () => {
  let h = clicked(s.newHistory(), 1, 1);
  h = clicked(s.settle(h, 1, h.present.objects[0].rev, answer()), 2, 2);
  const doc = revived(h.present);
  assert.equal(doc.objects[0].refine, null);
  assert.equal(s.waiting(doc).length, 1); // it is asked again
  const known = revived(s.settle(h, 1, h.present.objects[0].rev, answer()).present).objects[0];
  assert.equal(known.answer.result, null);
  assert.equal(s.maskOf(known).path, "M1");
});

test("marks: found at their place, moved, taken away", () => {
  const view = { scale: 2, x: 10, y: 0 }, box = [0, 0, 40, 30];
  const o = { ...s.selectedObject(s.addPoint(s.emptyDocument(), 20, 10, 1)), box };
  assert.deepEqual(markAt(o, view, 52, 21), { kind: "point", index: 0 });
  assert.deepEqual(markAt(o, view, 90, 61), { kind: "corner", index: 2 });
  assert.equal(markAt(o, view, 70, 40), null);
  assert.deepEqual(moved(o, { kind: "corner", index: 2 }, [-5, 8]).box, [-5, 0, 0, 8]);
  assert.deepEqual(moved(o, { kind: "corner", index: 0 }, [40, 30]).box, box); // none of no size
  assert.deepEqual(moved(o, { kind: "point", index: 0 }, [3, 4]).points, [{ x: 3, y: 4, label: 1 }]);
  assert.deepEqual(without(o, { kind: "point", index: 0 }), { points: [] });
  let d = s.addPoint(s.addPoint(s.emptyDocument(), 1, 1, 1), 2, 2, 0);
  d = s.setMarks(d, { points: [{ x: 2, y: 2, label: 0 }] }); // what takes away alone asks for nothing
  assert.ok(!s.hasPrompt(d.objects[0]));
});

test("masks that prompts gave are asked for again when tidying changes, and stay chosen", () => {
  const found = (result) => ({ result, best: 0, masks: [{ rle: 1 }, { rle: 2 }, { rle: 3 }] });
  let h = s.change(s.newHistory(), s.addPoint(s.newHistory().present, 10, 20, 1));
  h = s.settle(h, 1, s.selectedObject(h.present).rev, found("r"));
  h = s.change(h, s.choose(h.present, 1, 2));
  h = s.change(h, s.addMasks(h.present, [{ rle: { counts: "x" }, bbox: [0, 0, 1, 1] }], "file"));
  const before = h.present;
  h = s.change(h, s.setTidy(h.present, false));
  const [one, kept] = h.present.objects;
  assert.deepEqual(s.waiting(h.present), [one]);
  assert.equal(kept, before.objects[1]);
  assert.deepEqual(s.promptOf(one, h.present.tidy), { points: [[10, 20]], labels: [1], tidy: false });
  h = s.settle(h, 1, one.rev, found("s"));
  assert.equal(h.present.objects[0].chosen, 2);
  assert.equal(s.undo(h).present, before);
  const again = s.addPoint(s.select(h.present, 1), 5, 5, 1);
  assert.equal(s.settle({ past: [], present: again, future: [] }, 1, again.objects[0].rev, found("t")).present.objects[0].chosen, 0);
});
