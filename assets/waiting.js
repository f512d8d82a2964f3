// The waiting page, kept current. Without this file the page works too, only it must be loaded anew.
//
// It listens to one stream of the line's state and, where streams fail, asks for the same state now and then.
// It never decides who may enter: when the turn seems to have come, or anything is odd, it goes to the resume
// address, where the server decides anew. All words come from the server (src/web/pages/wording.rs).

const TURN_SPREAD_S = 2; // those admitted together do not all knock in the same instant
const RESET_SPREAD = { perSecond: 2000, most: 60 }; // nor do all those waiting, when the line begins anew
const RETRY_S = { first: 2, most: 60 }; // pause before the stream is tried again; doubles each time
const POLL_S = { first: 3, per1000: 10, most: 60 }; // pause between questions; grows with the distance to the front
const SILENCE_S = 60; // a stream silent for so long may be dead: ask once
const ANSWER_S = 10; // longest wait for an answer
const LOST_AFTER_S = 6; // a shorter loss is not worth a word
const ANNOUNCE_EVERY_S = 20; // a screen reader is not told more often than this

// ---- Words: the same rules as in wording.rs, over the same data; a test runs both over the same cases.

const fill = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name]);

export const number = (words, n) => String(n).replace(/\B(?=(\d{3})+$)/g, words.thousands);

export function count(words, ahead) {
  if (ahead === 0) return { big: words.next, small: "" };
  return { big: number(words, ahead), small: ahead === 1 ? words.one_ahead : words.many_ahead };
}

export const title = (words, ahead) => (ahead === 0 ? words.next : fill(words.title_ahead, { n: number(words, ahead) }));

export function estimate(ahead, pace) {
  if (!pace) return null;
  const [quick, slow, beat] = pace;
  return [Math.floor(Math.max(0, (ahead + 1) * quick - beat)), Math.ceil((ahead + 1) * slow + beat)];
}

export function wait(words, range) {
  if (!range) return words.unknown;
  const [lowS, highS] = range;
  if (highS <= words.moment_s) return words.moment;
  if (lowS >= words.ages_s) return words.ages;
  const unit = words.units.find((each) => highS <= each.up_to);
  const step = (n) => unit.steps.find(([below]) => n < below)[1];
  let low = Math.floor(lowS / unit.seconds);
  let high = Math.ceil(highS / unit.seconds);
  low -= low % step(low);
  high = Math.ceil(high / step(high)) * step(high);
  if (low === 0) return fill(unit.under, { n: high });
  if (low === high) return fill(unit.exact, { n: high });
  return fill(unit.range, { low, high });
}

export const size = (ahead) => (ahead === 0 ? "words" : ahead < 10000 ? "short" : ahead < 1000000000 ? "long" : "huge");

// How far the door stands open: 0 to 9 while waiting, 10 when the turn has come.
export const nearness = (start, ahead) =>
  start === 0 ? 9 : Math.min(9, Math.floor((10 * Math.max(0, start - ahead)) / start));

export const pollPause = (ahead) => Math.min(POLL_S.most, POLL_S.first + (ahead * POLL_S.per1000) / 1000);

// ---- The page.

function start(main) {
  const at = (id) => document.getElementById(id);
  const scene = document.querySelector(".scene");
  const words = JSON.parse(main.dataset.words);
  const { event, resume, stream, state } = main.dataset;
  const position = Number(main.dataset.position);
  const generation = Number(main.dataset.generation);
  const startAhead = Number(main.dataset.start);

  let ahead = Number(main.dataset.ahead);
  let waiting = 0; // as last heard
  let serving = position - ahead - 1;
  let source = null; // the stream, while there is one
  let heard = false; // whether it has said anything: some proxies hold streams back
  let retries = 0;
  let missedSince = null;
  let leaving = false;
  const timers = {};
  const announced = { ahead, at: Date.now() };

  // One timer of each name, so that nothing is ever waited for twice.
  function later(name, seconds, action) {
    clearTimeout(timers[name]);
    timers[name] = setTimeout(action, seconds * 1000);
  }
  const never = (name) => clearTimeout(timers[name]);
  const jittered = (seconds) => seconds * (0.5 + Math.random());

  function show(pace) {
    const { big, small } = count(words, ahead);
    const wording = wait(words, estimate(ahead, pace));
    const place = small ? `${big} ${small}` : big;
    at("count").textContent = big;
    at("count").dataset.size = size(ahead);
    at("unit").textContent = small;
    at("wait").textContent = wording;
    at("serving").textContent = number(words, serving);
    at("progress").value = startAhead === 0 ? 1 : Math.max(0, startAhead - ahead);
    at("progress").setAttribute("aria-valuetext", place);
    scene.dataset.near = nearness(startAhead, ahead);
    document.title = `${title(words, ahead)} · ${event}`;
    const milestone = ahead <= announced.ahead / 2 && ahead < announced.ahead;
    if (milestone && Date.now() - announced.at >= ANNOUNCE_EVERY_S * 1000) {
      Object.assign(announced, { ahead, at: Date.now() });
      at("live").textContent = fill(words.announcement, { place, wait: wording });
    }
  }

  function pause(paused) {
    if (at("paused").hidden === !paused) return;
    at("paused").hidden = !paused;
    at("live").textContent = paused ? at("paused").textContent : "";
  }

  function leave(withinS) {
    if (leaving) return;
    leaving = true;
    hangUp();
    Object.keys(timers).forEach(never);
    later("leave", Math.random() * withinS, () => location.replace(resume));
  }

  function enter() {
    at("count").textContent = words.turn;
    at("count").dataset.size = "words";
    at("unit").textContent = words.turn_detail;
    at("progress").value = at("progress").max;
    at("live").textContent = words.turn;
    scene.dataset.near = 10;
    document.title = `${words.turn} · ${event}`;
    leave(TURN_SPREAD_S);
  }

  function hear(message) {
    if (leaving) return;
    if (!Number.isInteger(message.serving)) throw new TypeError("not the state of a line");
    never("lost");
    missedSince = null;
    at("link").hidden = true;
    if (message.generation !== generation) {
      leave(Math.min(RESET_SPREAD.most, TURN_SPREAD_S + waiting / RESET_SPREAD.perSecond));
      return;
    }
    pause(message.paused === true);
    waiting = message.waiting;
    serving = message.serving;
    ahead = Math.max(0, position - serving - 1);
    if (serving >= position) enter();
    else show(message.pace);
  }

  // Nothing came when something should have: said only when it lasts.
  function miss() {
    missedSince ??= Date.now();
    later("lost", LOST_AFTER_S - (Date.now() - missedSince) / 1000, () => {
      at("link").textContent = words.lost;
      at("link").hidden = false;
    });
  }

  // Asks once. Answers whether there was an answer.
  async function ask() {
    const abort = new AbortController();
    const timer = setTimeout(() => abort.abort(), ANSWER_S * 1000);
    try {
      const answer = await fetch(state, { signal: abort.signal });
      if (!answer.ok) throw new Error(answer.statusText);
      hear(await answer.json());
      return true;
    } catch {
      return false;
    } finally {
      clearTimeout(timer);
    }
  }

  function poll(afterS) {
    later("poll", afterS, async () => {
      const answered = await ask();
      if (leaving || heard) return;
      if (!answered) miss();
      poll(jittered(pollPause(ahead)));
    });
  }

  function hangUp() {
    source?.close();
    source = null;
    heard = false;
  }

  // The browser would reconnect by itself, but all browsers at once after a restart of the server.
  function retry() {
    hangUp();
    if (leaving) return;
    const pause = Math.min(RETRY_S.most, RETRY_S.first * 2 ** retries);
    retries += 1;
    later("stream", jittered(pause), listen);
    poll(jittered(Math.min(pause, pollPause(ahead))));
  }

  function watchSilence() {
    later("silence", jittered(SILENCE_S), async () => {
      const before = serving;
      const answered = await ask();
      if (leaving) return;
      if (answered && serving === before) watchSilence();
      else retry();
    });
  }

  function listen() {
    if (!("EventSource" in window)) {
      poll(jittered(pollPause(ahead)));
      return;
    }
    hangUp();
    watchSilence();
    source = new EventSource(stream);
    source.onmessage = ({ data }) => {
      heard = true;
      retries = 0;
      never("poll");
      watchSilence();
      try {
        hear(JSON.parse(data));
      } catch {
        poll(0);
      }
    };
    source.onerror = () => {
      never("silence");
      miss();
      retry();
    };
  }

  // After sleep, a tunnel or the back button: ask at once, and make sure that the stream lives.
  function catchUp() {
    if (leaving) return;
    retries = 0;
    if (heard) watchSilence();
    else listen();
    ask();
  }

  document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && catchUp());
  window.addEventListener("online", catchUp);
  window.addEventListener("pageshow", ({ persisted }) => {
    if (!persisted) return;
    leaving = false;
    hangUp();
    catchUp();
  });
  window.addEventListener("pagehide", hangUp);
  listen();
}

const main = globalThis.document?.querySelector("main[data-stream]");
if (main) start(main);
