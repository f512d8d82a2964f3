//! The gate before an inlet: as long as the site cannot take more, nobody is let in by itself.
//!
//! Owns who is asked, how often, and what an answer means; must not know how one asks (`gates`), nor what stands
//! still meanwhile (`lobby`).

use std::time::Duration;

use url::Url;

/// Whom an inlet asks before it lets anybody in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Gate {
    /// Who knows how the site is.
    pub signal: Signal,
    /// How often they are asked.
    pub check_every: Duration,
}

/// Who knows how the site is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Signal {
    /// A CloudWatch alarm of this name: the gate is closed while it is in `ALARM` (`docs/operators.md`,
    /// *Inlets*).
    Alarm(String),
    /// An address: the gate is open while a `GET` there is answered with a 2xx.
    Health(Url),
}

/// How a gate stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum GateState {
    /// The site can take more.
    Open,
    /// It cannot, or nobody knows; why.
    Closed(String),
}
