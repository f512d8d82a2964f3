// assets/waiting.js in a page of paper: the clock stands until it is told to run, the network says what the
// test says. Run by `cargo test` (src/web/pages/script_tests.rs) or by hand: node tests/pages/waiting.test.mjs

import assert from "node:assert";
import { readFileSync } from "node:fs";
import { test } from "node:test";

const script = readFileSync(new URL("../../assets/waiting.js", import.meta.url));
const settle = globalThis.setImmediate;
const words = {
  thousands: ",", next: "next", one_ahead: "person", many_ahead: "people", title_ahead: "{n} ahead", unknown: "unknown",
  moment: "a moment", moment_s: 60, ages: "ages", ages_s: 86400, turn: "turn", turn_detail: "in", lost: "lost",
  announcement: "{place}, {wait}", units: [{ seconds: 60, up_to: 1e9, steps: [[1e9, 1]], exact: "{n}", range: "{low}-{high}", under: "<{n}" }],
};
const state = (serving, generation = 1) => ({ generation, serving, waiting: 1000, pace: [1, 2, 0] });

class Clock {
  now = 0;
  timers = new Map();
  set(action, ms) {
    const id = Symbol();
    this.timers.set(id, { at: this.now + Math.max(0, ms), action });
    return id;
  }
  async run(seconds) {
    const end = this.now + seconds * 1000;
    for (;;) {
      await new Promise(settle);
      const [id, next] = [...this.timers].sort(([, a], [, b]) => a.at - b.at)[0] ?? [];
      if (!next || next.at > end) break;
      this.timers.delete(id);
      this.now = next.at;
      next.action();
    }
    this.now = end;
  }
}

const element = () => ({ dataset: {}, textContent: "", hidden: true, attributes: {}, setAttribute(name, value) { this.attributes[name] = value; } });
const listeners = (on) => (name, action) => (on[name] = action);

// Opens the page of the visitor with position 100, who came when 60 were ahead and now sees 49.
async function open({ answers = () => null, streams = true } = {}) {
  const page = { clock: new Clock(), sources: [], asked: 0, went: null, on: {}, parts: {} };
  class Stream {
    constructor() { page.sources.push(this); }
    close() { this.closed = true; }
  }
  const main = element();
  main.dataset = { position: "100", ahead: "49", start: "60", generation: "1", event: "E", resume: "/resume", stream: "/s", state: "/q", words: JSON.stringify(words) };
  page.scene = element();
  page.document = {
    visibilityState: "visible",
    querySelector: (selector) => (selector === ".scene" ? page.scene : main),
    getElementById: (id) => (page.parts[id] ??= element()),
    addEventListener: listeners(page.on),
  };
  Object.assign(globalThis, {
    document: page.document,
    window: { addEventListener: listeners(page.on), ...(streams && { EventSource: Stream }) },
    EventSource: Stream,
    location: { replace: (url) => (page.went = url) },
    fetch: async () => {
      page.asked += 1;
      const answer = answers();
      if (!answer) throw new TypeError("no network");
      return { ok: true, json: async () => answer };
    },
    setTimeout: (action, ms) => page.clock.set(action, ms),
    clearTimeout: (id) => page.clock.timers.delete(id),
  });
  Date.now = () => page.clock.now;
  Math.random = () => 0.5;
  page.say = (message) => page.sources.at(-1).onmessage({ data: JSON.stringify(message) });
  page.fail = () => page.sources.at(-1).onerror();
  await import(`data:text/javascript;base64,${script.toString("base64")}#${Math.trunc(performance.now() * 1e6)}`);
  return page;
}

test("a message moves the number, the estimate, the bar, the door and the title", async () => {
  const page = await open();
  page.say(state(80));
  assert.equal(page.parts.count.textContent, "19");
  assert.equal(page.parts.unit.textContent, "people");
  assert.equal(page.parts.wait.textContent, "a moment");
  assert.equal(page.parts.serving.textContent, "80");
  assert.equal(page.parts.progress.value, 41);
  assert.equal(page.parts.progress.attributes["aria-valuetext"], "19 people");
  assert.equal(page.scene.dataset.near, 6);
  assert.equal(page.document.title, "19 ahead · E");
  assert.equal(page.went, null);
});

test("when the turn has come it is said, and the server is asked to decide", async () => {
  const page = await open();
  page.say(state(100));
  assert.equal(page.parts.live.textContent, "turn");
  assert.equal(page.document.title, "turn · E");
  assert.equal(page.went, null);
  await page.clock.run(3);
  assert.equal(page.went, "/resume");
  assert.ok(page.sources[0].closed);
});

test("a pause is shown and said as long as it lasts", async () => {
  const page = await open();
  page.say(state(60));
  assert.equal(page.parts.paused.hidden, true);
  page.parts.paused.textContent = "paused";
  page.say({ ...state(60), paused: true });
  assert.equal(page.parts.paused.hidden, false);
  assert.equal(page.parts.live.textContent, "paused");
  page.say({ ...state(61), paused: false });
  assert.equal(page.parts.paused.hidden, true);
  assert.equal(page.parts.live.textContent, "");
});

test("after a reset the server is asked to decide", async () => {
  const page = await open();
  page.say(state(60));
  page.say(state(0, 2));
  await page.clock.run(60);
  assert.equal(page.went, "/resume");
});

test("a screen reader hears milestones, not every step", async () => {
  const page = await open();
  const heard = [];
  for (let serving = 51; serving < 100; serving += 1) {
    await page.clock.run(30);
    page.say(state(serving));
    if (heard.at(-1) !== page.parts.live?.textContent && page.parts.live?.textContent) heard.push(page.parts.live.textContent);
  }
  assert.ok(heard.length >= 4 && heard.length <= 7, heard.join("; "));
  assert.equal(heard.at(-1), "next, a moment");
});

test("where the stream fails the state is asked for, and the stream tried again, ever more slowly", async () => {
  const page = await open({ answers: () => state(55) });
  page.fail();
  await page.clock.run(10);
  assert.ok(page.asked > 0);
  assert.equal(page.parts.count.textContent, "44");
  assert.equal(page.parts.link.hidden, true);
  assert.equal(page.sources.length, 2);
  page.fail();
  await page.clock.run(3);
  assert.equal(page.sources.length, 2);
  await page.clock.run(30);
  assert.equal(page.sources.length, 3);
  page.say(state(56));
  const asked = page.asked;
  await page.clock.run(30);
  assert.equal(page.asked, asked, "a stream that speaks needs no questions");
});

test("a browser without streams asks, more often the nearer the front", async () => {
  let serving = 0;
  const page = await open({ streams: false, answers: () => state(serving) });
  await page.clock.run(300);
  const far = page.asked;
  serving = 98;
  await page.clock.run(10);
  page.asked = 0;
  await page.clock.run(300);
  assert.ok(page.asked > far, `${page.asked} near, ${far} far`);
  assert.equal(page.sources.length, 0);
});

test("a loss is told once it lasts, and taken back", async () => {
  let answer = null;
  const page = await open({ answers: () => answer });
  page.fail();
  await page.clock.run(4);
  assert.notEqual(page.parts.link?.hidden, false);
  for (let failure = 0; failure < 4; failure += 1) {
    page.fail();
    await page.clock.run(3);
  }
  assert.equal(page.parts.link.hidden, false);
  assert.equal(page.parts.link.textContent, "lost");
  answer = state(70);
  await page.clock.run(60);
  assert.equal(page.parts.link.hidden, true);
  assert.equal(page.parts.count.textContent, "29");
});

test("a stream that a proxy holds back is found out", async () => {
  let serving = 60;
  const page = await open({ answers: () => state(serving++) });
  await page.clock.run(90);
  assert.equal(page.sources.length, 2);
  assert.ok(page.asked > 1);
});

test("a laptop that wakes catches up at once", async () => {
  const page = await open({ answers: () => state(90) });
  page.say(state(60));
  page.on.visibilitychange();
  await page.clock.run(0);
  assert.equal(page.parts.count.textContent, "9");
  page.on.pagehide();
  page.on.pageshow({ persisted: true });
  await page.clock.run(0);
  assert.equal(page.sources.length, 2, "the stream was closed with the page and is opened anew");
});

test("who comes back by the back button after the turn is sent on again", async () => {
  const page = await open({ answers: () => state(100) });
  page.say(state(100));
  await page.clock.run(3);
  page.went = null;
  page.on.pagehide();
  page.on.pageshow({ persisted: true });
  await page.clock.run(3);
  assert.equal(page.went, "/resume");
});

test("nonsense moves nothing", async () => {
  const page = await open();
  for (const nonsense of ["", "{", "null", "{}", '{"serving":"all"}', "<html>"]) {
    page.sources[0].onmessage({ data: nonsense });
    await page.clock.run(1);
  }
  assert.equal(page.went, null);
  assert.notEqual(page.parts.count?.textContent, "turn");
});
