//! How many joins the next moment will bring, from those that came: what to reserve ahead.

use tokio::time::Instant;

use crate::policy::{RESERVATION_LEAST, RESERVATION_MOST, RESERVATION_PERIOD};

/// An estimate of the joins in a [`RESERVATION_PERIOD`].
pub(super) struct ArrivalRate {
    /// The queue counter when the present period began, and when that was.
    from: u64,
    since: Instant,
    /// Joins in a period.
    rate: u64,
}

impl ArrivalRate {
    pub(super) const fn new(queue: u64, now: Instant) -> Self {
        Self { from: queue, since: now, rate: 0 }
    }

    /// How many positions to reserve when `queue` are handed out: as many as two periods need. 0: it is not worth it.
    pub(super) fn wanted(&mut self, queue: u64, now: Instant) -> u64 {
        let joined = queue.saturating_sub(self.from);
        let elapsed = now.saturating_duration_since(self.since);
        if elapsed < RESERVATION_PERIOD {
            self.rate = self.rate.max(joined);
        } else {
            let periods = elapsed.as_nanos() / RESERVATION_PERIOD.as_nanos();
            self.rate = joined / u64::try_from(periods).unwrap_or(u64::MAX);
            (self.from, self.since) = (queue, now);
        }
        if self.rate < RESERVATION_LEAST { 0 } else { self.rate.saturating_mul(2).min(RESERVATION_MOST) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reservation_follows_the_joins() {
        let start = Instant::now();
        let mut rate = ArrivalRate::new(100, start);
        assert_eq!(rate.wanted(100 + RESERVATION_LEAST - 1, start), 0, "too few");
        assert_eq!(rate.wanted(200, start), 200, "a rush begins at once");
        assert_eq!(rate.wanted(300, start + RESERVATION_PERIOD * 4), 100, "fifty a period");
        assert_eq!(rate.wanted(320, start + RESERVATION_PERIOD * 4), 100, "as before, for the period is young");
        assert_eq!(rate.wanted(300_000, start + RESERVATION_PERIOD * 5), RESERVATION_MOST);
        assert_eq!(rate.wanted(300_000, start + RESERVATION_PERIOD * 6), 0, "the rush is over");
        assert_eq!(rate.wanted(5, start + RESERVATION_PERIOD * 7), 0, "a reset");
        assert_eq!(rate.wanted(55, start + RESERVATION_PERIOD * 8), 100);
    }
}
