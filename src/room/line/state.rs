//! The state of a line.

use crate::ambient::Timestamp;
use crate::room::{Arrival, Counters};

/// What the rules of a line depend on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LineState {
    /// The numbers of the event.
    pub counters: Counters,
    /// The newest row of the arrival log.
    pub newest_arrival: Option<Arrival>,
    /// The latest step of the inlet.
    pub inlet_tick: Option<Timestamp>,
}
