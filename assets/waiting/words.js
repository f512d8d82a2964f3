"use strict";
// The wording of a place in the queue: the same rules as in src/web/pages/wording.rs, over the same data. A test
// compares both over the same cases.

const POLL_S = { first: 3, per1000: 10, most: 60 }; // pause between questions; grows with the distance to the front

function fill(text, values) {
  return text.replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

function number(words, n) {
  return String(n).replace(/\B(?=(\d{3})+$)/g, words.thousands);
}

function count(words, ahead) {
  if (ahead === 0) return { big: words.next, small: "" };
  return { big: number(words, ahead), small: ahead === 1 ? words.one_ahead : words.many_ahead };
}

function title(words, ahead) {
  return ahead === 0 ? words.next : fill(words.title_ahead, { n: number(words, ahead) });
}

function estimate(ahead, pace) {
  if (!pace) return null;
  const [quick, slow, beat] = pace;
  return [Math.floor(Math.max(0, (ahead + 1) * quick - beat)), Math.ceil((ahead + 1) * slow + beat)];
}

function wait(words, range) {
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

function size(ahead) {
  return ahead === 0 ? "words" : ahead < 10000 ? "short" : ahead < 1000000000 ? "long" : "huge";
}

// How far the drawn door is open: 0 to 9 while waiting, 10 when served.
function nearness(start, ahead) {
  return start === 0 ? 9 : Math.min(9, Math.floor((10 * Math.max(0, start - ahead)) / start));
}

function pollPause(ahead) {
  return Math.min(POLL_S.most, POLL_S.first + (ahead * POLL_S.per1000) / 1000);
}
