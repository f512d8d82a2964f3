//! The arrival log of one generation in memory: which position was handed out when.
//!
//! Owns one row of 16 bytes a second at most; must not know where the rows are kept. Nodes hand out
//! positions side by side, and their rows come in any order, late or twice; so the log is a function of
//! the *set* of its rows: a position's entry time is the latest second that began at or before it.

use super::{Arrival, Position};
use crate::ambient::Timestamp;
use crate::policy::ARRIVAL_TOLERANCE;

/// The log. Both the first position and the second grow strictly from row to row.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Arrivals {
    rows: Vec<Arrival>,
}

impl Arrivals {
    /// A log without rows: nobody has come.
    pub const fn new() -> Self {
        Self { rows: Vec::new() }
    }

    /// Adds a row; rows may come in any order and more than once. At the end of the log it takes constant time.
    ///
    /// A row says nothing new, and is dropped, when an equal or later second begins at an equal or lower position.
    pub fn merge(&mut self, row: Arrival) {
        match self.rows.last() {
            Some(last) if last.at >= row.at && last.first <= row.first => {}
            Some(last) if last.at >= row.at || last.first >= row.first => self.insert(row),
            _ => self.rows.push(row),
        }
    }

    fn insert(&mut self, row: Arrival) {
        let not_earlier = self.rows.partition_point(|known| known.at < row.at);
        if self.rows.get(not_earlier).is_some_and(|known| known.first <= row.first) {
            return;
        }
        let same_second = self.rows.get(not_earlier).is_some_and(|known| known.at == row.at);
        let begin = self.rows.partition_point(|known| known.first < row.first);
        let end = not_earlier + usize::from(same_second);
        self.rows.splice(begin..end, [row]);
    }

    /// When `position` was handed out; `None` before the first row. A position after the newest row counts as
    /// of its second: a log that lags behind answers too early a time.
    pub fn entry_of(&self, position: Position) -> Option<Timestamp> {
        let after = self.rows.partition_point(|row| row.first <= position);
        Some(self.rows.get(after.checked_sub(1)?)?.at)
    }

    /// Whether somebody who joined at `entry` can have got `position`: the log says so to within
    /// [`ARRIVAL_TOLERANCE`].
    pub fn fits(&self, position: Position, entry: Timestamp) -> bool {
        self.entry_of(position)
            .is_some_and(|known| known.since(entry) <= ARRIVAL_TOLERANCE && entry.since(known) <= ARRIVAL_TOLERANCE)
    }

    /// The newest row: whence to read on.
    pub fn newest(&self) -> Option<Arrival> {
        self.rows.last().copied()
    }

    /// Forgets everything, for the next generation, and gives the memory back.
    pub fn clear(&mut self) {
        self.rows = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn row(first: u64, at: u64) -> Arrival {
        Arrival { first: Position::new(first).unwrap(), at: Timestamp::from_secs(at) }
    }

    fn log(rows: &[Arrival]) -> Arrivals {
        let mut log = Arrivals::new();
        rows.iter().for_each(|row| log.merge(*row));
        log
    }

    fn position(number: u64) -> Position {
        Position::new(number).unwrap()
    }

    #[test]
    fn a_row_takes_16_bytes() {
        assert_eq!(size_of::<Arrival>(), 16);
    }

    #[test]
    fn a_position_came_in_the_second_that_began_at_or_before_it() {
        let log = log(&[row(1, 100), row(51, 101), row(90, 160)]);
        for (number, at) in [(1, 100), (50, 100), (51, 101), (89, 101), (90, 160), (1_000_000, 160)] {
            assert_eq!(log.entry_of(position(number)), Some(Timestamp::from_secs(at)), "{number}");
        }
        assert_eq!(log.newest(), Some(row(90, 160)));
    }

    #[test]
    fn a_log_without_the_row_of_a_position_knows_no_time() {
        assert_eq!(Arrivals::new().entry_of(Position::FIRST), None);
        assert!(!Arrivals::new().fits(Position::FIRST, Timestamp::from_secs(0)));
        assert_eq!(log(&[row(10, 100)]).entry_of(position(9)), None);
    }

    #[test]
    fn an_entry_time_fits_within_the_tolerance_on_either_side() {
        let log = log(&[row(1, 100), row(51, 200)]);
        let tolerance = ARRIVAL_TOLERANCE.as_secs();
        for (entry, fits) in [
            (200, true),
            (200 - tolerance, true),
            (199 - tolerance, false),
            (200 + tolerance, true),
            (201 + tolerance, false),
        ] {
            assert_eq!(log.fits(position(60), Timestamp::from_secs(entry)), fits, "{entry}");
        }
        assert!(!log.fits(position(50), Timestamp::from_secs(200)));
    }

    #[test]
    fn a_cleared_log_is_a_new_one() {
        let mut log = log(&[row(1, 100)]);
        log.clear();
        assert_eq!(log, Arrivals::new());
        assert_eq!(log.newest(), None);
    }

    #[test]
    fn a_second_keeps_the_smallest_of_its_first_positions() {
        assert_eq!(log(&[row(51, 100), row(1, 100), row(20, 100)]), log(&[row(1, 100)]));
    }

    fn rows() -> impl Strategy<Value = Vec<Arrival>> {
        prop::collection::vec((1_u64..60, 0_u64..40).prop_map(|(first, at)| row(first, at)), 0..40)
    }

    proptest! {
        #[test]
        fn the_order_and_repetition_of_rows_do_not_matter(rows in rows(), again in rows()) {
            let mut there: Vec<Arrival> = rows.iter().chain(&again).copied().collect();
            let once = log(&there);
            there.reverse();
            there.extend(rows);
            prop_assert_eq!(log(&there), once);
        }

        #[test]
        fn an_entry_time_is_the_latest_second_that_began_at_or_before_the_position(
            rows in rows(), number in 1_u64..70
        ) {
            let at = position(number);
            let naive = rows.iter().filter(|row| row.first <= at).map(|row| row.at).max();
            prop_assert_eq!(log(&rows).entry_of(at), naive);
        }

        #[test]
        fn entry_times_grow_with_positions_one_row_a_second(rows in rows()) {
            let log = log(&rows);
            prop_assert!(log.rows.is_sorted_by(|one, next| one.at < next.at && one.first < next.first));
            let seconds: HashSet<u64> = rows.iter().map(|row| row.at.as_secs()).collect();
            prop_assert!(log.rows.len() <= seconds.len());
        }
    }
}
