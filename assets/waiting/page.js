"use strict";
// Keeps the waiting page current. The page also works without this script, by reloading.
//
// It gets the queue's state from one stream, which one tab of the browser holds and shares with the others (tabs.js);
// where streams fail, it polls. It never decides who may enter: when the position seems to be served, or anything is
// unexpected, it opens the resume address, where the server decides. All words come from the server (words.js).
// Requests and streams never throw (network.js).

const TURN_SPREAD_S = 2; // those admitted together do not all knock in the same instant
const RESET_SPREAD = { perSecond: 2000, most: 60 }; // nor do all those waiting, when the line begins anew
const RETRY_S = { first: 2, most: 60 }; // pause before the stream is tried again; doubles each time
const SILENCE_S = 60; // a stream silent for so long may be dead: ask once
const NEWS_S = 30; // so may the tab that holds the stream, when it tells nothing
const LOST_AFTER_S = 6; // a shorter loss is not worth a word
const ANNOUNCE_EVERY_S = 20; // a screen reader is not told more often than this
const ALIVE_S = 180; // whoever gives no sign of life for so long has failed: longer than any pause here
const BLIND_AFTER = 2; // after so many questions without an answer the page is loaded anew, if the service can be reached
const BLIND_AFTER_S = 600; // and after so long also if that cannot be found out
const GOES_ON_S = 15; // the tab of a newer login that does not go on for so long is gone

/** @param {HTMLElement} main */
function start(main) {
  const at = (id) => document.getElementById(id);
  const scene = /** @type {HTMLElement} */ (document.querySelector(".scene"));
  const icon = /** @type {HTMLLinkElement} */ (document.querySelector("link[rel=icon]"));
  const progress = /** @type {HTMLProgressElement} */ (at("progress"));
  const words = JSON.parse(main.dataset.words);
  const { event, resume, stream, state, reach, client, login } = main.dataset;
  const position = Number(main.dataset.position);
  const generation = Number(main.dataset.generation);
  const startAhead = Number(main.dataset.start);

  const storage = sharedStorage();
  const tab = `${Date.now()}-${Math.random()}`;
  const logins = newestLogin(storage, { tab, client, login, began: Number(main.dataset.began) });

  let ahead = Number(main.dataset.ahead);
  let waiting = 0; // as last heard
  let serving = position - ahead - 1;
  let leads = false; // whether this is the tab that holds the stream
  let source = null; // the stream
  let heard = false; // whether it has said anything: some proxies hold streams back
  let suspicions = 0; // how often the tab that holds it told nothing
  let asked = Date.now(); // when this tab last knew how the line stands
  let retries = 0;
  let misses = 0; // questions without an answer since the last word
  let missedSince = 0;
  let overtaken = false; // whether the turn has come while a newer login goes on in another tab
  let leaving = false;
  const timers = {};
  const announced = { ahead, at: Date.now() };
  const lead = leadership(storage, tab, gain, lose);

  // One timer per name, so that nothing is waited for twice. Each is a sign of life for the watchdog.
  function later(name, seconds, action) {
    clearTimeout(timers[name]);
    timers[name] = setTimeout(() => {
      timers[name] = 0;
      alive();
      action();
    }, seconds * 1000);
  }
  function never(name) {
    clearTimeout(timers[name]);
    timers[name] = 0;
  }
  const jittered = (seconds) => seconds * (0.5 + Math.random());
  // The inline watchdog continues if this script stops.
  const alive = () => window["watchdog"] && window["watchdog"](ALIVE_S);

  function show(pace) {
    const { big, small } = count(words, ahead);
    const wording = wait(words, estimate(ahead, pace));
    const place = small ? `${big} ${small}` : big;
    at("count").textContent = big;
    at("count").dataset.size = size(ahead);
    at("unit").textContent = small;
    at("wait").textContent = wording;
    at("estimate").hidden = false;
    at("serving").textContent = number(words, serving);
    progress.value = startAhead === 0 ? 1 : Math.max(0, startAhead - ahead);
    progress.setAttribute("aria-valuetext", place);
    scene.dataset.near = String(nearness(startAhead, ahead));
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
    lead.resign();
    Object.keys(timers).forEach(never);
    later("leave", Math.random() * withinS, () => location.replace(resume));
  }

  // The position is served. The tab of the newest login continues; the others show a message and a button.
  function enter() {
    const newer = logins.newer();
    at("count").textContent = words.turn;
    at("count").dataset.size = "words";
    at("unit").textContent = newer ? words.turn_elsewhere : words.turn_detail;
    at("estimate").hidden = true;
    at("serving").textContent = number(words, serving);
    progress.value = progress.max;
    progress.setAttribute("aria-valuetext", words.turn);
    if (!overtaken) at("live").textContent = newer ? `${words.turn}. ${words.turn_elsewhere}` : words.turn;
    scene.dataset.near = "10";
    document.title = `${words.turn} · ${event}`;
    if (!newer) {
      logins.goOn();
      leave(TURN_SPREAD_S);
      return;
    }
    at("check").textContent = words.here;
    if (newer.state !== "went" && !overtaken) {
      later("newer", GOES_ON_S, () => {
        const still = logins.newer();
        if (still && still.state !== "went") logins.forget(still);
        overtaken = false;
        enter();
      });
    }
    overtaken = true;
  }

  // The queue's state, as the server sent it.
  function hear(text) {
    if (leaving) return;
    const message = JSON.parse(text);
    if (!Number.isInteger(message.serving)) throw new TypeError("not the state of a line");
    if (message.generation !== generation) {
      leave(Math.min(RESET_SPREAD.most, TURN_SPREAD_S + waiting / RESET_SPREAD.perSecond));
      return;
    }
    waiting = message.waiting;
    serving = message.serving;
    pause(message.paused === true && serving < position); // a pause does not stop a visitor whose turn has come
    ahead = Math.max(0, position - serving - 1);
    if (serving >= position) enter();
    else show(message.pace);
    // Recorded only after rendering: a page that cannot render a state has not received it.
    never("lost");
    misses = 0;
    missedSince = 0;
    at("link").hidden = true;
    alive();
  }

  // Shares a received state with the other tabs.
  function pass(text) {
    if (storage) keep(storage, KEYS.heard, { tab, stream, text, leads, at: Date.now() });
    lead.renew();
    hear(text);
  }

  // An expected message is missing: shown only when that lasts.
  function miss() {
    missedSince = missedSince || Date.now();
    later("lost", LOST_AFTER_S - (Date.now() - missedSince) / 1000, () => {
      at("link").textContent = words.lost;
      at("link").hidden = false;
    });
  }

  // Polls the queue's state once. Returns whether that succeeded.
  function ask(done) {
    asked = Date.now();
    alive();
    request(state, (status, text) => {
      let good = false;
      try {
        if (status === 200) {
          pass(text);
          good = true;
        }
      } catch (error) {
        // Not a queue's state, or a page that cannot render it.
      }
      if (!good && !leaving) blind();
      done(good);
    });
  }

  // A poll failed. If that continues, the page reloads, as it does without this script: if only the script's requests
  // are blocked, a reload works. Not while the service is away, because the page would be lost.
  function blind() {
    misses += 1;
    miss();
    if (misses < BLIND_AFTER) return;
    const since = missedSince;
    const reached = () => !leaving && misses > 0 && leave(TURN_SPREAD_S);
    request(reach, (status) => {
      if (status > 0 && status < 500) reached();
      else if (status > 0) return;
      else if (navigator.onLine !== false && Date.now() - since > BLIND_AFTER_S * 1000) reached();
      else requestPicture(`${icon.href}?${Date.now()}`, reached);
    });
  }

  function poll(afterS) {
    later("poll", afterS, () => {
      ask(() => {
        if (!leaving && !heard) poll(jittered(pollPause(ahead)));
      });
    });
  }

  // ---- The tab that holds the stream.

  function gain() {
    leads = true;
    never("poll");
    listen();
  }

  function lose() {
    leads = false;
    hangUp();
    if (!leaving) awaitNews();
  }

  function hangUp() {
    closeStream(source);
    source = null;
    heard = false;
    never("stream");
    never("silence");
  }

  // The browser would reconnect by itself, but after a restart of the server all browsers would do so at once.
  function retry() {
    hangUp();
    if (leaving || !leads) return;
    const pause = Math.min(RETRY_S.most, RETRY_S.first * Math.pow(2, retries));
    retries += 1;
    later("stream", jittered(pause), listen);
    poll(jittered(Math.min(pause, pollPause(ahead))));
  }

  function watchSilence() {
    later("silence", jittered(SILENCE_S), () => {
      const before = serving;
      ask((answered) => {
        if (leaving || !leads) return;
        if (answered && serving === before) watchSilence();
        else retry();
      });
    });
  }

  function listen() {
    if (leaving || !leads) return;
    hangUp();
    const opened = openStream(stream, (text) => source === opened && hearStream(text), () => {
      if (source !== opened) return;
      miss();
      retry();
    });
    source = opened;
    if (opened) {
      watchSilence();
      return;
    }
    if (!timers["poll"]) poll(jittered(RETRY_S.first));
    later("stream", jittered(RETRY_S.most), listen);
  }

  function hearStream(text) {
    heard = true;
    retries = 0;
    never("poll");
    watchSilence();
    try {
      pass(text);
    } catch (error) {
      poll(0);
    }
  }

  // ---- The tabs without the stream.

  // No message for a while: poll. If that repeats, take the stream over, because its tab may be frozen.
  function awaitNews() {
    later("silence", Math.max(NEWS_S, pollPause(ahead) * 1.5) * (1 + Math.random() / 2), () => {
      suspicions += 1;
      if (suspicions > 1) lead.suspect();
      ask(() => {
        if (!leaving && !leads) awaitNews();
      });
    });
  }

  // A tab of another event holds the stream: this one polls its own event, triggered by that tab's messages, because
  // timers of hidden tabs are slow.
  function askBeside() {
    const due = Date.now() - asked >= pollPause(ahead) * 1000;
    if (due) ask(() => {});
    if (due || !timers["poll"]) poll(jittered(pollPause(ahead)));
  }

  /** @param {StorageEvent} change */
  function changed(change) {
    const { key, newValue } = change;
    if (key === KEYS.lead) lead.changed(newValue);
    if (key !== KEYS.heard || !newValue || leaving) return;
    try {
      const news = JSON.parse(newValue);
      if (news.leads) suspicions = 0;
      if (news.stream === stream) {
        asked = Date.now();
        if (news.leads) never("poll");
        hear(news.text);
      } else if (news.leads && !leads) askBeside();
      if (!leads && (news.leads || news.stream === stream)) awaitNews();
    } catch (error) {
      blind();
    }
  }

  // ---- The page's lifecycle.

  // After sleep, a tunnel or the back button: poll at once, and make sure that the stream is alive.
  function catchUp() {
    if (leaving) return;
    retries = 0;
    if (leads && !heard) listen();
    else if (leads) watchSilence();
    ask(() => {});
  }

  function come() {
    leaving = false;
    overtaken = false;
    logins.arrive();
    awaitNews();
    lead.join();
    alive();
  }

  function go() {
    lead.resign();
    logins.leave();
  }

  window.addEventListener("storage", changed);
  document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && catchUp());
  // A frozen page cannot share messages (Page Lifecycle).
  document.addEventListener("freeze", lead.resign);
  document.addEventListener("resume", () => {
    lead.join();
    catchUp();
  });
  window.addEventListener("online", catchUp);
  window.addEventListener("pagehide", go);
  window.addEventListener("pageshow", ({ persisted }) => {
    if (!persisted) return;
    come();
    catchUp();
  });

  come();
  const news = storage ? kept(storage, KEYS.heard, {}) : {};
  if (!leads && news.leads && news.stream !== stream && Date.now() - news.at < NEWS_S * 1000) askBeside();
}

const waitingPage = /** @type {HTMLElement} */ (document.querySelector("main[data-stream]"));
if (waitingPage) start(waitingPage);
