//! Which positions were used, one bit each: what is remembered of sessions that are forgotten.
//!
//! Owns the layout of a chunk of positions; must not know where chunks are kept. A ticket whose bit is set opens no
//! second session.

use super::Position;

/// Positions `CHUNK × number + 1 ..= CHUNK × (number + 1)`, a bit each.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UsedChunk {
    number: u64,
    bits: Vec<u8>,
}

impl UsedChunk {
    /// Positions of one chunk: 512 bytes.
    pub const POSITIONS: u64 = 4_096;

    const BYTES: usize = (Self::POSITIONS / 8) as usize;

    /// The number of the chunk that has this position; 0, which is none, counts as the first.
    pub const fn number_of(position: u64) -> u64 {
        position.saturating_sub(1) / Self::POSITIONS
    }

    /// A chunk as it was kept; without `bits`, one of which no position was used.
    pub fn new(number: u64, mut bits: Vec<u8>) -> Self {
        bits.resize(Self::BYTES, 0);
        Self { number, bits }
    }

    /// What is kept of it.
    pub fn bits(&self) -> &[u8] {
        &self.bits
    }

    /// Its number.
    pub const fn number(&self) -> u64 {
        self.number
    }

    const fn place(position: u64) -> (usize, u8) {
        let offset = (position - 1) % Self::POSITIONS;
        ((offset / 8) as usize, 1 << (offset % 8))
    }

    /// Notes that a position of this chunk was used.
    pub fn insert(&mut self, position: Position) {
        let (byte, bit) = Self::place(position.get());
        self.bits[byte] |= bit;
    }

    /// Whether a position of this chunk was used.
    pub fn contains(&self, position: Position) -> bool {
        let (byte, bit) = Self::place(position.get());
        self.bits[byte] & bit != 0
    }

    /// The used positions, in order.
    pub fn positions(&self) -> impl Iterator<Item = Position> {
        let first = self.number * Self::POSITIONS + 1;
        let all = (first..first + Self::POSITIONS).filter_map(Position::new);
        all.filter(|position| self.contains(*position))
    }

    /// How many of the positions above `after`, through `through`, were used.
    pub fn count(&self, after: u64, through: u64) -> u64 {
        let first = self.number * Self::POSITIONS;
        if after <= first && first + Self::POSITIONS <= through {
            return self.bits.iter().map(|byte| u64::from(byte.count_ones())).sum();
        }
        self.positions().filter(|position| (after + 1..=through).contains(&position.get())).count() as u64
    }

    /// The last position of the unbroken run of used ones that follows `after`; `after` itself if there is none.
    pub fn run_after(&self, after: u64) -> u64 {
        let mut last = after;
        while let Some(next) = Position::new(last + 1)
            && Self::number_of(next.get()) == self.number
            && self.contains(next)
        {
            last = next.get();
        }
        last
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_chunk_knows_what_was_inserted_and_nothing_else(
            number in 0_u64..5, offsets in prop::collection::btree_set(1..=UsedChunk::POSITIONS, 0..200),
            after in 0_u64..25_000, length in 0_u64..25_000,
        ) {
            let used: BTreeSet<u64> = offsets.iter().map(|offset| number * UsedChunk::POSITIONS + offset).collect();
            let mut chunk = UsedChunk::new(number, Vec::new());
            for position in &used {
                prop_assert_eq!(UsedChunk::number_of(*position), number);
                chunk.insert(Position::new(*position).unwrap());
            }
            let kept = UsedChunk::new(number, chunk.bits().to_vec());
            prop_assert_eq!(kept.positions().map(Position::get).collect::<BTreeSet<_>>(), used.clone());
            let counted = used.iter().filter(|position| (after + 1..=after + length).contains(position)).count();
            prop_assert_eq!(kept.count(after, after + length), counted as u64);
            let run = (after + 1..).take_while(|position| used.contains(position)).last().unwrap_or(after);
            prop_assert_eq!(kept.run_after(after), if UsedChunk::number_of(after + 1) == number { run } else { after });
        }
    }
}
