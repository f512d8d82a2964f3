// A fake browser for the waiting page's script: the test runs the clock and defines the network's answers; tabs share a
// storage, and locks where the browser has them.

import { readFileSync } from "node:fs";
import vm from "node:vm";

const source = (name) => readFileSync(new URL(`../../assets/waiting/${name}.js`, import.meta.url), "utf8");
// Concatenated as in src/web/pages/assets.rs.
const script = new vm.Script(["words", "tabs", "network", "page"].map(source).join(""), { filename: "waiting.js" });
const settle = globalThis.setImmediate;

export const words = {
  thousands: ",", next: "next", one_ahead: "person", many_ahead: "people", title_ahead: "{n} ahead", unknown: "unknown",
  moment: "a moment", moment_s: 60, ages: "ages", ages_s: 86400, turn: "turn", turn_detail: "in", lost: "lost",
  turn_elsewhere: "elsewhere", here: "here",
  announcement: "{place}, {wait}", units: [{ seconds: 60, up_to: 1e9, steps: [[1e9, 1]], exact: "{n}", range: "{low}-{high}", under: "<{n}" }],
};

export const state = (serving, generation = 1) => ({ generation, serving, waiting: 1000, pace: [1, 2, 0] });

const element = () => ({ dataset: {}, textContent: "", hidden: true, attributes: {}, setAttribute(name, value) { this.attributes[name] = value; } });

class Clock {
  now = 1800000000000;
  timers = new Map();
  set(action, ms) {
    const id = Symbol();
    this.timers.set(id, { at: this.now + Math.max(0, ms), action });
    return id;
  }
  async run(seconds) {
    const end = this.now + seconds * 1000;
    for (;;) {
      for (let turn = 0; turn < 3; turn += 1) await new Promise(settle);
      const [id, next] = [...this.timers].sort(([, a], [, b]) => a.at - b.at)[0] ?? [];
      if (!next || next.at > end) break;
      this.timers.delete(id);
      this.now = Math.max(this.now, next.at);
      next.action();
    }
    this.now = end;
  }
}

// Web Locks, as far as the script uses them.
class Locks {
  queue = [];
  held = null;
  request(name, options, action) {
    return new Promise((resolve, reject) => {
      const request = { action, resolve, reject };
      if (options.steal) {
        const robbed = this.held;
        this.held = null;
        this.queue.unshift(request);
        robbed?.reject(new DOMException("stolen", "AbortError"));
      } else this.queue.push(request);
      this.next();
    });
  }
  next() {
    if (this.held || this.queue.length === 0) return;
    const request = this.queue.shift();
    this.held = request;
    const released = (done) => (value) => {
      done(value);
      if (this.held !== request) return;
      this.held = null;
      this.next();
    };
    Promise.resolve().then(() => request.action()).then(released(request.resolve), released(request.reject));
  }
}

export class Browser {
  clock = new Clock();
  tabs = [];
  kept = new Map();

  /** `locks`: whether it has Web Locks; `storage`: whether pages have storage. */
  constructor({ locks = true, storage = true } = {}) {
    this.locks = locks ? new Locks() : undefined;
    this.stores = storage;
  }

  /** The number of open streams. */
  get streams() {
    return this.tabs.flatMap((tab) => tab.sources).filter((stream) => !stream.closed).length;
  }

  storageOf(tab) {
    const kept = this.kept;
    const write = (key, value) => {
      if (value === null ? !kept.has(key) : kept.get(key) === value) return;
      value === null ? kept.delete(key) : kept.set(key, value);
      for (const other of this.tabs.filter((each) => each !== tab)) {
        this.clock.set(() => other.frozen || other.closed || other.fire("storage", { key, newValue: value }), 0);
      }
    };
    return {
      get length() { return kept.size; },
      key: (index) => [...kept.keys()][index] ?? null,
      getItem: (key) => kept.get(key) ?? null,
      setItem: (key, value) => write(key, String(value)),
      removeItem: (key) => write(key, null),
    };
  }

  /**
   * Opens the page of the visitor with position 100, who joined with 60 ahead and now has 49 ahead. `answers` returns the
   * queue's state, or a status; null: no answer. `reach` is the status of the service otherwise, 0: none; `picture`:
   * whether images load. `replaced` changes the browser's interfaces before the script runs, as extensions do.
   */
  async open({ answers = () => null, streams = true, replaced = () => {}, event = "E", client = "C", login = "L", began = 0, reach = 0, picture = false } = {}) {
    const { clock } = this;
    const tab = { clock, sources: [], asked: 0, reached: 0, went: null, parts: {}, alive: 0, broken: null, listeners: {}, late: new Map() };
    const whenAwake = (action, ms) => {
      const id = clock.set(() => tab.closed || (tab.frozen ? tab.late.set(id, action) : action()), ms);
      return id;
    };
    tab.thaw = () => {
      tab.frozen = false;
      for (const [id, action] of tab.late) tab.late.delete(id) && action();
    };
    tab.on = new Proxy({}, { get: (_, name) => (detail) => tab.fire(name, detail) });
    tab.fire = (name, detail = {}) => (tab.listeners[name] ?? []).forEach((action) => action(detail));
    const listen = (name, action) => (tab.listeners[name] ??= []).push(action);
    class Stream {
      constructor(url) { this.url = url; tab.sources.push(this); }
      close() { this.closed = true; }
    }
    class Request {
      open(method, url) { this.url = url; }
      send() {
        const question = this.url === `/line/${event}`;
        question ? (tab.asked += 1) : (tab.reached += 1);
        const answer = question ? answers() : reach;
        whenAwake(() => {
          if (!answer) return this.onerror();
          this.status = typeof answer === "number" ? answer : 200;
          this.responseText = typeof answer === "number" ? "" : JSON.stringify(answer);
          this.onload();
        }, 0);
      }
    }
    class Picture {
      set src(_) { if (picture) clock.set(() => this.onload(), 0); }
    }
    const main = element();
    main.dataset = {
      position: "100", ahead: "49", start: "60", generation: "1", event, client, login, began: String(began), resume: "/resume",
      stream: `/line/${event}/events`, state: `/line/${event}`, reach: "/authorize", words: JSON.stringify(words),
    };
    tab.scene = element();
    tab.document = {
      visibilityState: "visible",
      querySelector: (selector) => ({ ".scene": tab.scene, "link[rel=icon]": { href: "/icon" } })[selector] ?? main,
      getElementById: (id) => (id === tab.broken ? null : (tab.parts[id] ??= element())),
      addEventListener: listen,
    };
    const window = {
      document: tab.document, addEventListener: listen, navigator: { locks: this.locks, onLine: true },
      location: { replace: (url) => (tab.went = url) }, XMLHttpRequest: Request, Image: Picture, console,
      watchdog: (seconds) => (tab.alive = seconds),
      setTimeout: whenAwake,
      clearTimeout: (id) => clock.timers.delete(id) || tab.late.delete(id),
      ...(streams && { EventSource: Stream }),
    };
    window.window = window;
    const storage = this.storageOf(tab);
    Object.defineProperty(window, "localStorage", { get: () => { if (!this.stores) throw new Error("forbidden"); return storage; } });
    vm.createContext(window);
    window.clock = clock;
    vm.runInContext(`Math.random = ((n) => () => 0.5 + (n++ % 97) / 1e6)(${this.tabs.length * 11}); Date.now = () => clock.now;`, window);
    tab.window = window;
    replaced(window);
    tab.say = (message) => tab.sources.at(-1).onmessage({ data: JSON.stringify(message) });
    tab.fail = () => tab.sources.at(-1).onerror();
    // The tab is closed: its page goes, with its streams, timers and locks.
    tab.close = () => {
      tab.fire("pagehide");
      tab.closed = true;
    };
    this.tabs.push(tab);
    script.runInContext(window);
    await clock.run(0);
    return tab;
  }
}

/** The page with its watchdog alone, with a first timeout of 40 s. */
export function watched() {
  const page = { clock: new Clock(), went: 0 };
  const own = { getAttribute: (name) => ({ "data-url": "/resume", "data-seconds": "40" })[name] };
  page.window = {
    document: { getElementById: () => own }, navigator: { onLine: true },
    location: { replace: (url) => url === "/resume" && (page.went += 1) },
    setTimeout: (action, ms) => page.clock.set(action, ms),
    clearTimeout: (id) => page.clock.timers.delete(id),
  };
  vm.runInNewContext(source("watchdog"), page.window);
  return page;
}

/** The only tab of a browser. */
export const open = (options, browser) => new Browser(browser).open(options);
