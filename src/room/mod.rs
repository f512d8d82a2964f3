//! The rules of waiting: who stands where, who is served, who came too late, how fast the line moves.
//!
//! Pure: no I/O, no async, no clock of its own, no web types, no store. Everything it needs to know
//! is an argument, so that every rule can be tested with numbers alone.

mod admission;
mod anchors;
mod arrivals;
mod cipher;
mod cookie;
mod domain_event;
mod eta;
mod event;
mod expiry;
mod future_sessions;
mod gate;
mod inlet;
pub mod line;
mod max_size;
mod request_id;
mod session;
mod settings;
mod ticket;
mod used;

pub use admission::{Admission, Served};
pub use anchors::{Anchors, Moment, PassingTime};
pub use arrivals::Arrivals;
pub use cookie::{CookieKey, CookieKind};
pub use domain_event::{DomainEvent, EventKind};
pub use eta::{Estimate, Pace};
pub use event::{Arrival, Counters, EventId, EventIdError, Generation, Position, ServingRecord};
pub use expiry::{ExpiryRule, Lapsed};
pub use future_sessions::{FutureSessions, Stay};
pub use gate::{Gate, GateState, Signal};
pub use inlet::{Inlet, Periodic, Rhythm};
pub use max_size::{MaxSize, Occupancy};
pub use request_id::{MalformedRequestId, RequestId};
pub use session::{Opener, Session, SessionStatus};
pub use settings::{Channels, Entry, EventSettings, MetricsEvents, OnExpiry, PublicTokens};
pub use ticket::{Door, Refusal, Ticket, TicketKey};
pub use used::UsedChunk;
