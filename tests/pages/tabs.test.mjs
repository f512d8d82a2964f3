// Tests assets/waiting/ in several tabs of a fake browser (fake_browser.mjs). Run by `cargo test`
// (src/web/pages/script_tests.rs) or by hand: node tests/pages/tabs.test.mjs

import assert from "node:assert";
import { test } from "node:test";

import { Browser, state } from "./fake_browser.mjs";

const count = (tab) => tab.parts.count?.textContent;
const speaking = (browser) => browser.tabs.find((tab) => !tab.closed && !tab.frozen && tab.sources.some((stream) => !stream.closed));

/** Both kinds of browsers, with this many loaded tabs. */
async function* browsers(tabs, options = {}) {
  for (const locks of [true, false]) {
    const browser = new Browser({ locks });
    for (let index = 0; index < tabs; index += 1) await browser.open({ login: `L${index}`, ...options });
    await browser.clock.run(2);
    yield browser;
  }
}

/** The stream sends a message every 15 seconds, like the server. */
async function pass(browser, seconds, message) {
  for (let passed = 0; passed < seconds; passed += 15) {
    speaking(browser)?.say(message);
    await browser.clock.run(15);
  }
}

test("seven tabs share one stream", async () => {
  for await (const browser of browsers(7)) {
    assert.equal(browser.streams, 1);
    await pass(browser, 600, state(70));
    assert.deepEqual(browser.tabs.map(count), Array(7).fill("29"));
    assert.equal(browser.tabs.flatMap((tab) => tab.sources).length, 1, "and it was opened once");
    assert.equal(browser.tabs.reduce((sum, tab) => sum + tab.asked, 0), 0, "nobody has to ask");
  }
});

test("hidden tabs with stopped timers notice that they are served", async () => {
  for await (const browser of browsers(2)) {
    const [leader, other] = browser.tabs;
    other.window.setTimeout = () => 0;
    leader.say(state(100));
    await browser.clock.run(0);
    assert.equal(count(other), "turn");
  }
});

test("when the tab with the stream is closed another opens one at once", async () => {
  for await (const browser of browsers(3)) {
    speaking(browser).close();
    await browser.clock.run(2);
    assert.equal(browser.streams, 1);
    const heir = speaking(browser);
    heir.say(state(80));
    await browser.clock.run(0);
    assert.deepEqual(browser.tabs.filter((tab) => !tab.closed).map(count), ["19", "19"]);
  }
});

test("when the tab with the stream is frozen another takes it over, and the thawed one gives it up", async () => {
  for await (const browser of browsers(3, { answers: () => state(75) })) {
    await pass(browser, 60, state(70));
    const frozen = speaking(browser);
    frozen.frozen = true;
    await browser.clock.run(60);
    assert.deepEqual(browser.tabs.filter((tab) => !tab.frozen).map(count), ["24", "24"], "the others ask");
    await browser.clock.run(60);
    const heir = speaking(browser);
    assert.ok(heir && heir !== frozen);
    frozen.thaw();
    heir.say(state(80));
    await browser.clock.run(15);
    await pass(browser, 300, state(80));
    assert.equal(browser.streams, 1);
    assert.deepEqual(browser.tabs.map(count), ["19", "19", "19"]);
  }
});

test("a freeze event moves the stream at once", async () => {
  for await (const browser of browsers(2)) {
    const frozen = speaking(browser);
    frozen.fire("freeze");
    frozen.frozen = true;
    await browser.clock.run(2);
    assert.equal(browser.streams, 1);
    assert.notEqual(speaking(browser), undefined);
  }
});

test("the newest login continues by itself; older ones show a message and a button", async () => {
  for await (const browser of browsers(3)) {
    speaking(browser).say(state(100));
    await browser.clock.run(120);
    assert.deepEqual(browser.tabs.map((tab) => tab.went), [null, null, "/resume"]);
    for (const older of browser.tabs.slice(0, 2)) {
      assert.deepEqual([count(older), older.parts.unit.textContent, older.parts.check.textContent], ["turn", "elsewhere", "here"]);
      assert.equal(older.parts.live.textContent, "turn. elsewhere");
    }
  }
});

test("an older served tab shows it everywhere, and reverts if the counter moves back", async () => {
  for await (const browser of browsers(2)) {
    const [older] = browser.tabs;
    speaking(browser).say({ ...state(60), paused: true });
    await browser.clock.run(0);
    assert.equal(older.parts.paused.hidden, false);
    speaking(browser).say({ ...state(120), paused: true });
    await browser.clock.run(0);
    const { serving, estimate, progress, paused } = older.parts;
    assert.equal(count(older), "turn");
    assert.equal(serving.textContent, "120");
    assert.equal(progress.attributes["aria-valuetext"], "turn");
    assert.equal(estimate?.hidden, true, "there is nothing left to estimate");
    assert.equal(paused.hidden, true, "a pause stops nobody whose turn has come");
    older.fire("storage", { key: "anteroom-heard", newValue: JSON.stringify({ stream: "/line/E/events", text: JSON.stringify(state(70)) }) });
    assert.deepEqual([count(older), estimate.hidden, serving.textContent], ["29", false, "70"], "the counter was moved back");
    assert.equal(progress.attributes["aria-valuetext"], "29 people");
  }
});

test("a tab that fails to take the lead does not retry without pause", async () => {
  for await (const browser of browsers(1)) {
    const [{ window }] = browser.tabs;
    browser.tabs[0].close();
    await browser.clock.run(2);
    let gains = 0;
    let losses = 0;
    // Breaks a busy loop, which would never end.
    const gain = () => {
      if ((gains += 1) < 1000) throw new Error("no");
    };
    const closed = browser.tabs.pop();
    closed.closed = false;
    const lead = window.leadership(window.localStorage, "failing", gain, () => (losses += 1));
    lead.join();
    await browser.clock.run(2);
    assert.deepEqual([gains, losses], [1, 1]);
    const next = await browser.open();
    next.fire("storage", { key: "anteroom-lead", newValue: null });
    await browser.clock.run(120);
    assert.equal(next.sources.filter((stream) => !stream.closed).length, 1, "another tab leads");
    assert.ok(gains <= 2, `${gains} tries`);
  }
});

test("a login that began later is newer, however the tabs were loaded", async () => {
  const browser = new Browser();
  const newer = await browser.open({ login: "new", began: 20 });
  const older = await browser.open({ login: "old", began: 10 });
  speaking(browser).say(state(100));
  await browser.clock.run(120);
  assert.deepEqual([newer.went, older.went], ["/resume", null]);
});

test("a reload does not make a login newer", async () => {
  const browser = new Browser();
  const first = await browser.open({ login: "first" });
  const second = await browser.open({ login: "second" });
  first.close();
  const reloaded = await browser.open({ login: "first" });
  await browser.clock.run(2);
  speaking(browser).say(state(100));
  await browser.clock.run(120);
  assert.deepEqual([second.went, reloaded.went], ["/resume", null]);
});

test("when the newest tab is closed, or stops, the next one continues", async () => {
  for await (const browser of browsers(3)) {
    const [, middle, newest] = browser.tabs;
    newest.close();
    middle.frozen = true;
    await browser.clock.run(2);
    speaking(browser).say(state(100));
    await browser.clock.run(60);
    assert.equal(browser.tabs[0].went, "/resume");
  }
});

test("logins of other clients continue as well", async () => {
  const browser = new Browser();
  const one = await browser.open({ client: "one", login: "1" });
  const two = await browser.open({ client: "two", login: "2" });
  speaking(browser).say(state(100));
  await browser.clock.run(60);
  assert.deepEqual([one.went, two.went], ["/resume", "/resume"]);
});

test("tabs of several events share one stream without mixing states", async () => {
  for await (const browser of browsers(1)) {
    let serving = 60;
    const others = [];
    for (let index = 0; index < 6; index += 1) {
      others.push(await browser.open({ event: `F${index}`, client: `F${index}`, answers: () => state(serving) }));
    }
    await browser.clock.run(2);
    await pass(browser, 60, state(70));
    assert.equal(browser.streams, 1);
    assert.equal(count(browser.tabs[0]), "29");
    assert.deepEqual(others.map(count), Array(6).fill("39"));
    const timers = others.map((tab) => tab.window.setTimeout);
    for (const tab of others) tab.window.setTimeout = () => 0;
    serving = 90;
    await pass(browser, 30, state(71));
    assert.deepEqual(others.map(count), Array(6).fill("9"), "prompted by the stream of another line");
    others.forEach((tab, index) => (tab.window.setTimeout = timers[index]));
    browser.tabs[0].close();
    others[0].fire("storage", { key: "anteroom-lead", newValue: null });
    await browser.clock.run(2);
    assert.equal(others.filter((tab) => tab.sources.length > 0).length, 1, "one of them has the stream then");
  }
});

test("without storage each tab works alone", async () => {
  const browser = new Browser({ storage: false });
  const tabs = [await browser.open(), await browser.open()];
  assert.equal(browser.streams, 2);
  for (const tab of tabs) tab.say(state(100));
  await browser.clock.run(3);
  assert.deepEqual(tabs.map((tab) => tab.went), ["/resume", "/resume"]);
});

test("foreign entries in the storage are ignored", async () => {
  for (const rubbish of ["", "{", "null", "[]", "7", '"x"', '{"leads":true,"stream":"/line/E/events","text":"{"}']) {
    const browser = new Browser();
    for (const key of ["anteroom-heard", "anteroom-lead", "anteroom-login-x"]) browser.kept.set(key, rubbish);
    const tab = await browser.open();
    await browser.clock.run(2);
    tab.fire("storage", { key: "anteroom-heard", newValue: rubbish });
    tab.fire("storage", { key: "anteroom-lead", newValue: rubbish });
    tab.say(state(80));
    assert.equal(count(tab), "19", rubbish);
    tab.say(state(100));
    await browser.clock.run(3);
    assert.equal(tab.went, "/resume", rubbish);
  }
});
