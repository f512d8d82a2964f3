"use strict";
// What the tabs of one browser share: which of them holds the stream, its latest state, and which login is the newest.
//
// They use localStorage, whose changes notify every tab at once, hidden or not. Where a page has no storage, each tab
// works alone.

const KEYS = { lead: "anteroom-lead", heard: "anteroom-heard", login: "anteroom-login-" };
const LEASE_MS = 90000; // a lead that was not renewed for so long is over (where the browser has no locks)
const RENEW_MS = 10000; // how often it is renewed and looked at
const CLAIM_MS = 300; // pause after which a claim that is still there is good
const LOGIN_MS = 86400000; // what was written of a login for so long is swept up

/** @returns {Storage | null} what all tabs of this browser share */
function sharedStorage() {
  try {
    const storage = window.localStorage;
    storage.setItem("anteroom-try", "1");
    storage.getItem("anteroom-try");
    storage.key(0);
    storage.removeItem("anteroom-try");
    return storage;
  } catch (error) {
    return null;
  }
}

function discard(storage, key) {
  try {
    storage.removeItem(key);
  } catch (error) {
    // An old entry is harmless.
  }
}

/** What is kept under `key`, or what stands for nothing where that cannot be read. */
function kept(storage, key, nothing) {
  try {
    return JSON.parse(storage.getItem(key)) || nothing;
  } catch (error) {
    return nothing;
  }
}

function keep(storage, key, value) {
  try {
    storage.setItem(key, JSON.stringify(value));
  } catch (error) {
    // The storage is full or no longer allowed: the other tabs work alone.
  }
}

// Leader election among the tabs. `gain` is called when this tab becomes the leader, `lose` when another does. A tab
// that closes or crashes is succeeded by the next; a frozen one is reported by the others (`suspect`).
function leadership(storage, tab, gain, lose) {
  if (!storage) return { join: gain, resign: lose, suspect() {}, renew() {}, changed() {} };
  const byLease = leaseLeadership(storage, tab, gain, lose);
  try {
    const locks = navigator["locks"]; // Web Locks are newer than 2017
    return locks ? lockLeadership(locks, byLease, gain, lose) : byLease;
  } catch (error) {
    return byLease;
  }
}

// Whether the page accepted the lead. If `gain` throws, the tab gives the lead up, and its next attempt is at least a
// minute later: when no tab sends any message (`suspect`), or when the lease is over.
function takenUp(gain, lose) {
  try {
    gain();
    return true;
  } catch (error) {
    lose();
    return false;
  }
}

function lockLeadership(locks, byLease, gain, lose) {
  let takesPart = false;
  let leads = false;
  let release = null;
  let refused = false; // whether this page may not use locks

  function ask(options) {
    let granted = false;
    const held = () => {
      granted = true;
      if (!takesPart || leads) return undefined;
      leads = true;
      return new Promise((resolve) => {
        release = resolve;
        leads = takenUp(gain, lose);
        if (!leads) resolve();
      });
    };
    const refuse = () => {
      refused = true;
      if (takesPart) byLease.join();
    };
    // This promise also rejects if `request` throws or does not exist.
    new Promise((resolve) => resolve(locks.request(KEYS.lead, options, held))).then(
      () => granted || refuse(),
      (error) => {
        if (!granted) return refuse();
        if (!leads) return undefined;
        leads = false;
        lose();
        // AbortError: another tab stole the lock because this one sent no message. Any other error means that the
        // browser's locks do not work, and another request would fail again, without end.
        return error && error.name === "AbortError" ? ask({}) : refuse();
      },
    );
  }

  return {
    join() {
      takesPart = true;
      if (refused) byLease.join();
      else ask({});
    },
    resign() {
      takesPart = false;
      byLease.resign();
      if (!leads) return;
      leads = false;
      lose();
      release();
    },
    suspect() {
      if (refused) byLease.suspect();
      else if (!leads) ask({ steal: true });
    },
    renew: byLease.renew,
    changed: byLease.changed,
  };
}

function leaseLeadership(storage, tab, gain, lose) {
  let takesPart = false;
  let leads = false;
  let timer = 0;
  const write = () => keep(storage, KEYS.lead, { tab, at: Date.now() });
  const holder = () => kept(storage, KEYS.lead, {}).tab;
  const isOver = () => !(Math.abs(Date.now() - kept(storage, KEYS.lead, {}).at) < LEASE_MS);

  function claim() {
    write();
    setTimeout(() => {
      if (!takesPart || leads || holder() !== tab) return;
      leads = true;
      leads = takenUp(gain, lose);
    }, CLAIM_MS);
  }

  // A lead that another tab took, perhaps while this one was frozen, is lost.
  function renew() {
    if (!leads) return;
    if (!holder() || holder() === tab) write();
    else {
      leads = false;
      lose();
    }
  }

  function look() {
    clearTimeout(timer);
    if (!takesPart) return;
    renew();
    if (!leads && (!holder() || isOver())) claim();
    timer = setTimeout(look, RENEW_MS * (0.75 + Math.random() / 2));
  }

  return {
    join() {
      takesPart = true;
      look();
    },
    resign() {
      takesPart = false;
      if (!leads) return;
      leads = false;
      lose();
      if (holder() === tab) discard(storage, KEYS.lead);
    },
    suspect() {
      if (takesPart && !leads) claim();
    },
    renew,
    // Another tab has taken or given up the lead.
    changed(value) {
      if (!takesPart) return;
      if (value === null) setTimeout(look, Math.random() * CLAIM_MS);
      else if (holder() !== tab) renew();
    },
  };
}

// Which tab continues by itself when the position is served: relying parties that keep one login in a cookie know only
// the newest. Logins of different clients are independent. Each tab writes a key of its own, so that concurrent tabs
// lose no writes.
function newestLogin(storage, { tab, client, login, began }) {
  let own = { tab, client, login, began, order: 0, state: "here", at: Date.now() };
  const later = (a, b) => a.began - b.began || a.order - b.order || (a.tab < b.tab ? -1 : 1);

  function others() {
    const found = [];
    try {
      for (let index = 0; storage && index < storage.length; index += 1) {
        const key = storage.key(index);
        const other = key.startsWith(KEYS.login) ? kept(storage, key, null) : null;
        if (other && other.order > 0 && other.tab !== tab) found.push(other);
      }
    } catch (error) {
      // The browser has withdrawn the storage, or an extension has replaced it: this tab is the newest known.
    }
    return found;
  }

  function mark(state) {
    own = Object.assign({}, own, { state, at: Date.now() });
    if (storage) keep(storage, KEYS.login + tab, own);
  }

  return {
    // The page is shown, at first or again. A login that is loaded again keeps its rank.
    arrive() {
      const list = others();
      const known = list.find((each) => each.login === login);
      const highest = list.reduce((most, each) => Math.max(most, each.order), 0);
      own.order = own.order || (known ? known.order : highest + 1);
      mark("here");
      const over = (each) => (each.login === login && each.state !== "here") || Date.now() - each.at > LOGIN_MS;
      list.filter(over).forEach((each) => discard(storage, KEYS.login + each.tab));
    },
    leave: () => own.state !== "went" && mark("gone"),
    goOn: () => mark("went"),
    /** @returns {any} the tab of the newest login of this client, still here or gone on; null: this one */
    newer() {
      const rivals = others().filter((each) => each.client === client && each.state !== "gone" && later(each, own) > 0);
      return rivals.sort(later).pop() || null;
    },
    /** The tab of a newer login did not go on. */
    forget: (other) => keep(storage, KEYS.login + other.tab, Object.assign({}, other, { state: "gone" })),
  };
}
