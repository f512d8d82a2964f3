//! The wait: how long until a visitor is served, from how the serving counter moved of late.
//!
//! Owns the estimate in seconds; must not know settings (an operator may steer by hand, so only what
//! happened counts) nor words such as "about ten minutes" (the page).
//!
//! How it is made, and why. The rate over the recent window is *positions after its first move ÷ time from
//! its first move to its last*: the first move itself says nothing, for nobody knows how long it took.
//! It is honest to name a range: the window is measured again with each of its steps left out in turn
//! (a jackknife), so that one jump by hand widens the range and does not shift it; and once for its newest
//! minute alone, so a change of pace shows soon. A line that moves regularly gets one and the same number
//! from all of these, and that number does not change with each further step. A silence counts only where it
//! outlasts the longest interval seen: from there the slow end grows with each second, until the pace
//! is not known any more. As the counter moves in steps, each wait is uncertain by one interval (the *beat*).

use std::time::Duration;

use super::ServingRecord;
use crate::ambient::Timestamp;
use crate::policy::{CLOCK_AHEAD, PACE_HORIZON, PACE_MIN_MOVES, PACE_RECENT, PACE_WINDOW};

/// How fast a line moves, as a range. The waiting page multiplies as [`wait`](Self::wait) does.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Pace {
    quick: f64,
    slow: f64,
    beat: f64,
}

/// How long a visitor waits, as far as the recent pace tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Estimate {
    /// Not shorter than this, if the line goes on as it did.
    pub at_least: Duration,
    /// Not longer than this, if the line goes on as it did.
    pub at_most: Duration,
}

/// The serving counter moved by `served` in the second `at`.
#[derive(Clone, Copy)]
struct Move {
    at: u64,
    served: u128,
}

impl Pace {
    /// The pace at `now`, from the newest serving records of an event, in order of the serving counter (a few
    /// hundred are plenty). `None`: not known; nothing, or a single move, or nothing for a long time.
    pub fn observe(records: &[ServingRecord], now: Timestamp) -> Option<Self> {
        let moves = moves(records, now);
        let moves = window(&moves);
        let (first, steps) = moves.split_first()?;
        let last = steps.last()?;
        let intervals = || moves.windows(2).map(|pair| (pair[1].served, pair[1].at - pair[0].at));

        let longest = intervals().map(|(_, time)| time).max()?;
        let silence = now.as_secs().saturating_sub(last.at);
        if silence > PACE_WINDOW.as_secs().max(longest.saturating_mul(2)) {
            return None;
        }
        let overdue = silence.saturating_sub(longest);

        let whole = (steps.iter().map(|step| step.served).sum::<u128>(), last.at - first.at);
        let without_each =
            intervals().map(|(served, time)| (whole.0 - served, whole.1 - time)).filter(|(served, _)| *served > 0);
        let witnesses = without_each.chain([whole, newest(moves, last.at)]);
        let (quick, slow) = witnesses.fold((f64::INFINITY, 0.0_f64), |(quick, slow), (served, time)| {
            (quick.min(ratio(time, served)), slow.max(ratio(time.saturating_add(overdue), served)))
        });
        Some(Self { quick, slow, beat: ratio(longest, 1) })
    }

    /// Seconds that one position takes, at best and at worst; both above 0, finite, in this order.
    pub const fn seconds_per_position(&self) -> (f64, f64) {
        (self.quick, self.slow)
    }

    /// The longest time between two moves: nobody can be told their wait more exactly than this, in seconds.
    pub const fn seconds_between_moves(&self) -> f64 {
        self.beat
    }

    /// The figures that an [`Estimate`] is made of, in seconds: one position at best, at worst, and one beat.
    pub const fn figures(&self) -> [f64; 3] {
        [self.quick, self.slow, self.beat]
    }

    /// The wait of a visitor with `ahead` unserved positions before their own.
    pub fn wait(&self, ahead: u64) -> Estimate {
        Estimate::of(ahead, self.figures())
    }
}

impl Estimate {
    /// From `ahead + 1` positions at the quick pace less one beat (never below 0), to as many at the slow pace and one
    /// beat more. The waiting page's script reckons the same from the same figures.
    pub fn of(ahead: u64, [quick, slow, beat]: [f64; 3]) -> Self {
        let positions = ahead as f64 + 1.0;
        let seconds = |seconds: f64| Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
        Self { at_least: seconds((positions * quick - beat).max(0.0)), at_most: seconds(positions * slow + beat) }
    }
}

/// The moves forward, one a second at most, in order of time, whatever clocks wrote them. Where one lies in the future, a
/// clock was ahead: then no move was later than the one after it, nor than now.
fn moves(records: &[ServingRecord], now: Timestamp) -> Vec<Move> {
    let forward = records.iter().filter(|record| record.served > 0);
    let mut times: Vec<Timestamp> = forward.clone().map(|record| record.issued_at).collect();
    if times.iter().any(|at| *at > now + CLOCK_AHEAD) {
        times.iter_mut().rev().fold(now, |next, at| {
            *at = next.min(*at);
            *at
        });
    }
    let mut moves: Vec<Move> = Vec::with_capacity(times.len());
    for (record, at) in forward.zip(times) {
        let (at, served) = (at.as_secs(), u128::from(record.served));
        match moves.last_mut() {
            Some(last) if at <= last.at => last.served += served,
            _ => moves.push(Move { at, served }),
        }
    }
    moves
}

/// The part that tells about now: it ends with the last move, not with the present, so that a silence
/// does not make the past change.
fn window(moves: &[Move]) -> &[Move] {
    let Some(last) = moves.last() else { return moves };
    let begin = moves.iter().enumerate().position(|(index, step)| {
        let age = last.at - step.at;
        age <= PACE_WINDOW.as_secs() || (moves.len() - index <= PACE_MIN_MOVES && age <= PACE_HORIZON.as_secs())
    });
    &moves[begin.unwrap_or(0)..]
}

/// The newest minute, or a little more: from the last move that is at least so old (else from the first).
fn newest(moves: &[Move], last: u64) -> (u128, u64) {
    let base = moves.iter().rposition(|step| last - step.at >= PACE_RECENT.as_secs()).unwrap_or(0);
    let served = moves[base + 1..].iter().map(|step| step.served).sum();
    (served, last - moves[base].at)
}

fn ratio(time: u64, served: u128) -> f64 {
    time as f64 / served as f64
}

#[cfg(test)]
mod tests;
