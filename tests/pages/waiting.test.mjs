// Tests assets/waiting/ in one tab of a fake browser (fake_browser.mjs). Run by `cargo test`
// (src/web/pages/script_tests.rs) or by hand: node tests/pages/waiting.test.mjs

import assert from "node:assert";
import { test } from "node:test";

import { open, state, watched } from "./fake_browser.mjs";

test("a message updates the number, the estimate, the bar, the door and the title", async () => {
  const page = await open();
  page.say(state(80));
  assert.equal(page.parts.count.textContent, "19");
  assert.equal(page.parts.unit.textContent, "people");
  assert.equal(page.parts.wait.textContent, "a moment");
  assert.equal(page.parts.serving.textContent, "80");
  assert.equal(page.parts.progress.value, 41);
  assert.equal(page.parts.progress.attributes["aria-valuetext"], "19 people");
  assert.equal(page.scene.dataset.near, "6");
  assert.equal(page.document.title, "19 ahead · E");
  assert.equal(page.went, null);
});

test("a served visitor sees it, and the server decides", async () => {
  const page = await open();
  page.say(state(100));
  assert.equal(page.parts.live.textContent, "turn");
  assert.equal(page.document.title, "turn · E");
  assert.equal(page.went, null);
  await page.clock.run(3);
  assert.equal(page.went, "/resume");
  assert.ok(page.sources[0].closed);
});

test("a pause is shown and announced as long as it lasts", async () => {
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

test("after a reset the server decides", async () => {
  const page = await open();
  page.say(state(60));
  page.say(state(0, 2));
  await page.clock.run(60);
  assert.equal(page.went, "/resume");
});

test("a screen reader announces milestones, not every step", async () => {
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

test("when the stream fails the state is polled, and the stream retried at growing intervals", async () => {
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

test("a browser without streams polls, more often near the front", async () => {
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

const refuses = () => { throw new Error("no"); };
const kinds = [{ locks: true }, { locks: false }, { storage: false }];

test("a browser whose streams throw polls at once, and retries them each minute", async () => {
  for (const name of ["a constructor that throws", "no constructor", "a stream that takes no listener and cannot be closed"]) {
    for (const kind of kinds) {
      let tries = 0;
      // Breaks a busy loop, which would never end.
      const fail = () => (tries += 1) < 1000 && refuses();
      const stubs = {
        "a constructor that throws": function () { fail(); },
        "no constructor": () => fail(),
        "a stream that takes no listener and cannot be closed": function () { Object.defineProperty(this, "onmessage", { set: fail }); },
      };
      const page = await open({ answers: () => state(55), replaced: (window) => (window.EventSource = stubs[name]) }, kind);
      await page.clock.run(5);
      assert.equal(page.parts.count?.textContent, "44", name);
      assert.equal(page.parts.link?.hidden, true, name);
      await page.clock.run(600);
      assert.ok(page.asked > 100 && tries < 30, `${name}: ${page.asked} questions, ${tries} tries`);
      assert.equal(page.went, null, name);
    }
  }
});

test("a browser that throws on access to its streams polls the server", async () => {
  for (const kind of kinds) {
    let tries = 0;
    const replaced = (window) => Object.defineProperty(window, "EventSource", { get: () => (tries += 1) < 1000 && refuses() });
    const page = await open({ answers: () => state(55), replaced }, kind);
    await page.clock.run(5);
    assert.ok(tries < 5, `${tries} tries`);
    assert.equal(page.parts.count?.textContent, "44");
  }
});

test("locks that throw or are missing are replaced by the lease", async () => {
  let calls = 0;
  const stubs = {
    "no locks": { get: () => ({}) },
    "locks that throw": { get: () => ({ request: refuses }) },
    "locks that promise nothing": { get: () => ({ request: () => undefined }) },
    "locks that are never granted": { get: () => ({ request: () => Promise.resolve() }) },
    "locks that fail once they are granted": { get: () => ({ request: (name, options, held) => (held(), (calls += 1) < 1000 ? Promise.reject(new Error("no")) : Promise.resolve()) }) },
    "an interface that throws": { get: refuses },
  };
  for (const [name, stub] of Object.entries(stubs)) {
    const page = await open({ replaced: ({ navigator }) => Object.defineProperty(navigator, "locks", stub) });
    await page.clock.run(2);
    assert.ok(page.sources.length > 0, name);
    page.say(state(80));
    assert.equal(page.parts.count.textContent, "19", name);
    await page.clock.run(60);
    assert.ok(page.sources.length < 5, `${name}: ${page.sources.length} streams`);
    assert.ok(calls < 5, `${name}: ${calls} calls`);
  }
});

test("storage that throws or is incomplete does not stop a visitor", async () => {
  for (const method of ["getItem", "setItem", "removeItem", "key", "length"]) {
    for (const late of [false, true]) {
      for (const kind of [{ locks: true }, { locks: false }]) {
        const spoil = ({ localStorage }) => Object.defineProperty(localStorage, method, { get: refuses });
        let serving = 80;
        const page = await open({ answers: () => state(serving), ...(!late && { replaced: spoil }) }, kind);
        await page.clock.run(2);
        if (late) spoil(page.window);
        assert.equal(page.sources.length, 1, method);
        page.say(state(90));
        assert.equal(page.parts.count.textContent, "9", method);
        page.fire("freeze");
        page.fire("resume");
        await page.clock.run(2);
        serving = 100;
        page.say(state(100));
        await page.clock.run(60);
        assert.equal(page.went, "/resume", method);
      }
    }
  }
});

test("a page whose requests and images throw uses the stream, and keeps trying", async () => {
  const replaced = (window) => {
    window.XMLHttpRequest = undefined;
    window.Image = undefined;
  };
  const page = await open({ replaced });
  page.fail();
  await page.clock.run(100);
  assert.ok(page.sources.length > 2);
  page.say(state(80));
  assert.equal(page.parts.count.textContent, "19");
  assert.equal(page.parts.link.hidden, true);
  page.fail();
  await page.clock.run(800);
  assert.equal(page.went, "/resume", "nothing tells whether the service is away");
});

test("a lost connection is shown once it lasts, and the message removed afterwards", async () => {
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

test("a stream buffered by a proxy is detected", async () => {
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

test("a page restored by the back button after being served continues again", async () => {
  const page = await open({ answers: () => state(100) });
  page.say(state(100));
  await page.clock.run(3);
  page.went = null;
  page.on.pagehide();
  page.on.pageshow({ persisted: true });
  await page.clock.run(3);
  assert.equal(page.went, "/resume");
});

test("a malformed message changes nothing", async () => {
  const page = await open();
  for (const nonsense of ["", "{", "null", "{}", '{"serving":"all"}', "<html>"]) {
    page.sources[0].onmessage({ data: nonsense });
    await page.clock.run(1);
  }
  assert.equal(page.went, null);
  assert.notEqual(page.parts.count?.textContent, "turn");
});

test("when stream and polls are blocked and the service is reachable the page reloads", async () => {
  for (const blocked of [{ answers: () => null }, { answers: () => 403 }, { answers: () => 404, streams: false }, { answers: () => 503 }, { answers: () => ({ no: "line" }) }]) {
    const page = await open({ ...blocked, reach: 400 });
    if (page.sources[0]) page.fail();
    await page.clock.run(5);
    if (page.sources[0]) page.fail();
    await page.clock.run(30);
    assert.equal(page.went, "/resume", JSON.stringify(blocked));
  }
});

test("when all requests are blocked an image shows that the service is reachable", async () => {
  const page = await open({ picture: true });
  page.fail();
  await page.clock.run(30);
  assert.equal(page.went, "/resume");
});

test("while the service is away the page stays, and is current again afterwards", async () => {
  for (const away of [0, 502, 503]) {
    let answer = away;
    const page = await open({ answers: () => answer, reach: away });
    page.fail();
    await page.clock.run(500);
    assert.equal(page.went, null, away);
    answer = state(70);
    await page.clock.run(200);
    assert.equal(page.parts.count.textContent, "29");
    assert.equal(page.went, null);
  }
});

test("when the service's state is unknown the page reloads before the place expires", async () => {
  const page = await open();
  page.fail();
  await page.clock.run(800);
  assert.equal(page.went, "/resume");
  const offline = await open();
  offline.window.navigator.onLine = false;
  offline.fail();
  await offline.clock.run(3000);
  assert.equal(offline.went, null, "no page can be loaded without a network");
});

test("a page that cannot render a message reloads", async () => {
  const page = await open({ answers: () => state(70), reach: 400 });
  page.broken = "count";
  page.say(state(60));
  await page.clock.run(30);
  page.say(state(61));
  await page.clock.run(30);
  assert.equal(page.went, "/resume");
});

test("the script resets the watchdog as long as it lives, more often than its timeout", async () => {
  const page = await open({ answers: () => state(60) });
  for (let minute = 0; minute < 20; minute += 1) {
    assert.ok(page.alive > 0, `minute ${minute}`);
    const longest = page.alive;
    page.alive = 0;
    if (minute < 10) page.say(state(60));
    await page.clock.run(longest - 1);
  }
});

test("an hour of waiting causes no reload", async () => {
  let serving = 60;
  const page = await open({ answers: () => state(serving) });
  for (let quarter = 0; quarter < 240; quarter += 1) {
    serving = 60 + Math.floor(quarter / 10);
    page.say(state(serving));
    await page.clock.run(15);
  }
  assert.equal(page.went, null);
  assert.equal(page.asked, 0);
});

test("without a sign of life the watchdog reloads until it succeeds", async () => {
  const page = watched();
  await page.clock.run(39);
  assert.equal(page.went, 0);
  await page.clock.run(2);
  assert.equal(page.went, 1);
  await page.clock.run(60);
  assert.equal(page.went, 3);
});

test("a sign of life or a missing network delays the watchdog", async () => {
  const page = watched();
  for (let sign = 0; sign < 10; sign += 1) {
    page.window.watchdog(180);
    await page.clock.run(179);
  }
  assert.equal(page.went, 0);
  page.window.navigator.onLine = false;
  await page.clock.run(300);
  assert.equal(page.went, 0);
  page.window.navigator.onLine = true;
  await page.clock.run(20);
  assert.equal(page.went, 1);
});
