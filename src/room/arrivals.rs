//! The arrival log of one generation in memory: which position was handed out when.
//!
//! Owns one row of 16 bytes a second at most; must not know where the rows are kept. A position's entry time is that of
//! the last row that begins at or before it. Rows come late or twice where other nodes hand out positions as well; once
//! they were merged in their order, the log says what they say. Times grow from row to row, but where a clock was set back.

use super::{Arrival, Position};
use crate::ambient::Timestamp;
use crate::policy::{ARRIVAL_TOLERANCE, CLOCK_SET_BACK};

impl Arrival {
    /// Whether somebody who joins at `at`, after the others of this row, is of this row as well: entry times do not decrease
    /// because clocks of nodes differ a little, but they do when a clock was set back.
    pub fn takes(&self, at: Timestamp) -> bool {
        self.at >= at && self.at.since(at) < CLOCK_SET_BACK
    }
}

/// The log. The first position grows strictly from row to row, and each row has another time than its neighbours.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Arrivals {
    rows: Vec<Arrival>,
}

impl Arrivals {
    /// A log without rows: nobody has come.
    pub const fn new() -> Self {
        Self { rows: Vec::new() }
    }

    /// Adds a row; rows may come more than once. At the end of the log it takes constant time.
    ///
    /// A row says nothing new, and is dropped, when the row before it has the same time.
    pub fn merge(&mut self, row: Arrival) {
        match self.rows.last() {
            Some(last) if last.first < row.first && last.at == row.at => {}
            Some(last) if last.first >= row.first => self.insert(row),
            _ => self.rows.push(row),
        }
    }

    fn insert(&mut self, row: Arrival) {
        let index = self.rows.partition_point(|known| known.first < row.first);
        if index.checked_sub(1).and_then(|before| self.rows.get(before)).is_some_and(|before| before.at == row.at) {
            return;
        }
        match self.rows.get_mut(index) {
            Some(known) if known.first == row.first => known.at = known.at.max(row.at),
            Some(next) if next.at == row.at => next.first = row.first,
            _ => self.rows.insert(index, row),
        }
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

    /// Forgets the rows before that of position `first`, and gives the memory back: nobody whose position is there can
    /// enter any more.
    pub fn forget_before(&mut self, first: Position) {
        let forgotten = self.rows.partition_point(|row| row.first < first);
        self.rows.drain(..forgotten);
        self.rows.shrink_to(2 * self.rows.len());
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
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
    fn what_is_forgotten_has_no_time_and_the_rest_keeps_its_own() {
        let mut log = log(&[row(1, 100), row(51, 101), row(90, 160)]);
        log.forget_before(position(51));
        assert_eq!((log.len(), log.entry_of(position(50))), (2, None));
        assert_eq!(log.entry_of(position(51)), Some(Timestamp::from_secs(101)));
        log.forget_before(position(51));
        assert_eq!(log.len(), 2);
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

    #[test]
    fn where_a_clock_was_set_back_each_position_keeps_the_time_that_its_ticket_says() {
        let log = log(&[row(1, 100), row(51, 86_500), row(90, 110), row(95, 111)]);
        for (number, at) in [(50, 100), (51, 86_500), (89, 86_500), (90, 110), (94, 110), (95, 111)] {
            assert_eq!(log.entry_of(position(number)), Some(Timestamp::from_secs(at)), "{number}");
        }
    }

    #[test]
    fn a_row_takes_whoever_comes_within_its_second_or_by_a_clock_that_is_a_little_behind() {
        for (at, taken) in [(1_000, true), (999, true), (941, true), (940, false), (0, false), (1_001, false)] {
            assert_eq!(row(1, 1_000).takes(Timestamp::from_secs(at)), taken, "{at}");
        }
    }

    /// The rows of a line, in their order: each with another time than the one before it, mostly a later one.
    fn rows() -> impl Strategy<Value = Vec<Arrival>> {
        let step = prop_oneof![9 => 1_u64..40, 1 => Just(0)];
        prop::collection::vec((1_u64..60, step), 0..40).prop_map(|steps| {
            let (mut first, mut at) = (0, 1_000_000);
            let rows = steps.into_iter().map(|(places, later)| {
                // By none: set back by a day, or nearly.
                (first, at) = (first + places, if later == 0 { at - 86_000 - places } else { at + later });
                row(first, at)
            });
            rows.collect()
        })
    }

    proptest! {
        #[test]
        fn rows_that_come_late_and_twice_say_the_same_in_the_end(
            rows in rows(), order in prop::collection::vec(any::<prop::sample::Index>(), 0..60)
        ) {
            let mut late: Vec<Arrival> =
                order.iter().filter(|_| !rows.is_empty()).map(|index| *index.get(&rows)).collect();
            late.extend(&rows);
            prop_assert_eq!(log(&late), log(&rows));
        }

        #[test]
        fn an_entry_time_is_that_of_the_last_row_that_begins_at_or_before_the_position(
            rows in rows(), number in 1_u64..2_000
        ) {
            let at = position(number);
            let naive = rows.iter().rfind(|row| row.first <= at).map(|row| row.at);
            prop_assert_eq!(log(&rows).entry_of(at), naive);
        }

        #[test]
        fn what_comes_within_a_row_adds_none(rows in rows(), number in 1_u64..2_000) {
            let mut log = log(&rows);
            let before = log.clone();
            if let Some(at) = log.entry_of(position(number)) {
                log.merge(Arrival { first: position(number), at });
            }
            prop_assert_eq!(log, before);
        }
    }
}
