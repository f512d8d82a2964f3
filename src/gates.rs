//! Gates: probes, for each room that has one, whether the site can take more visitors, and reports the result to the
//! lobby.
//!
//! Owns the probes: a CloudWatch alarm, or a health address that answers a `GET`. Must not know the effect of a closed
//! gate (`lobby`). A probe that fails closes the gate.

use std::sync::Arc;

use reqwest::Client;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};
use url::Url;

use crate::ambient::Timestamp;
use crate::aws::{self, Alarm, AlarmState, MissingRegionError};
use crate::lobby::{Lobby, Room};
use crate::outbound::{self, LogThrottle, OutboundError, Proxies};
use crate::policy;
use crate::room::{EventId, Gate, GateState, Signal};

/// Why the probes cannot start.
#[derive(Debug, thiserror::Error)]
pub enum GatesError {
    /// The AWS region of an alarm is not known.
    #[error("the alarm of a gate cannot be read: {0}")]
    Region(#[from] MissingRegionError),
    /// A health address cannot be called.
    #[error("the health address of a gate cannot be called: {0}")]
    Health(#[from] OutboundError),
}

/// The probes of a running deployment; [`Gates::stop`] ends them.
pub struct Gates {
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Gates {
    /// Starts the probes.
    ///
    /// # Errors
    /// See [`GatesError`].
    pub async fn start(lobby: &Arc<Lobby>) -> Result<Self, GatesError> {
        let mut gates = Vec::new();
        for room in lobby.rooms() {
            if let Some(gate) = &room.settings.gate {
                gates.push((Arc::clone(room), gate.clone(), Probe::new(&gate.signal).await?));
            }
        }
        let stop = watch::Sender::new(false);
        let spawn = |(room, gate, probe)| tokio::spawn(watch(Arc::clone(lobby), room, gate, probe, stop.subscribe()));
        let tasks = gates.into_iter().map(spawn).collect();
        Ok(Self { stop, tasks })
    }

    /// Ends the probes and waits for their end.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        for task in self.tasks {
            if let Err(error) = task.await {
                tracing::error!(%error, "a gate's probe panicked; it is not restarted");
            }
        }
    }
}

async fn watch(lobby: Arc<Lobby>, room: Arc<Room>, gate: Gate, probe: Probe, mut stop: watch::Receiver<bool>) {
    let probing = async {
        let mut ticks = interval(gate.check_every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let found = probe.run(&room.settings.id, lobby.now()).await;
            if let Err(error) = lobby.set_gate_state(&room, found).await {
                tracing::warn!(event = %room.settings.id, %error, "the gate state cannot be recorded; it is retried");
            }
        }
    };
    tokio::select! {
        () = probing => {}
        _ = stop.wait_for(|&stopped| stopped) => {}
    }
}

/// A health probe.
enum Probe {
    Alarm { alarm: Alarm, log_throttle: LogThrottle },
    Health { client: Client, address: Url },
}

impl Probe {
    async fn new(signal: &Signal) -> Result<Self, GatesError> {
        Ok(match signal {
            Signal::Alarm(name) => {
                let alarm = Alarm::new(&aws::regional_config().await?, name);
                Self::Alarm { alarm, log_throttle: LogThrottle::default() }
            }
            Signal::Health(address) => {
                let client = outbound::client(address, policy::HEALTH_PATIENCE, Proxies::FromEnvironment)?;
                Self::Health { client, address: address.clone() }
            }
        })
    }

    /// The gate state of `event` at `now`.
    async fn run(&self, event: &EventId, now: Timestamp) -> GateState {
        match self {
            Self::Alarm { alarm, log_throttle } => match alarm.state().await {
                Ok(state) => {
                    log_throttle.reset();
                    gate_of_alarm(&state)
                }
                Err(error) => {
                    // AWS's messages name accounts and roles, so they are logged but are no part of the reason.
                    if log_throttle.should_log(&error, now) {
                        tracing::warn!(%event, error, "the alarm of a gate cannot be read; the gate is closed");
                    }
                    GateState::Closed("the alarm cannot be asked".to_owned())
                }
            },
            Self::Health { client, address } => match check_health(client, address).await {
                Ok(()) => GateState::Open,
                Err(error) => GateState::Closed(format!("the health address is not well: {error}")),
            },
        }
    }
}

fn gate_of_alarm(state: &AlarmState) -> GateState {
    match state {
        AlarmState::Ok => GateState::Open,
        AlarmState::Alarm => GateState::Closed("the alarm rings".to_owned()),
        AlarmState::Missing => GateState::Closed("there is no such alarm".to_owned()),
    }
}

async fn check_health(client: &Client, address: &Url) -> Result<(), OutboundError> {
    outbound::require_success(client.get(address.clone()).send().await?).map(drop)
}
