//! Gates: asks, for each room that has one, whether the site can take more, and tells the lobby.
//!
//! Owns how one asks: a CloudWatch alarm, or an address that a `GET` shows to be well. It must not know what a closed
//! gate does (`lobby`). Nobody who can be asked, or no answer, means closed: a site that cannot say how it is gets nobody.

use std::sync::Arc;

use reqwest::Client;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};
use url::Url;

use crate::ambient::Timestamp;
use crate::aws::{self, Alarm, AlarmState, NoRegion};
use crate::lobby::{Lobby, Room};
use crate::outbound::{self, Complaints, OutboundError, Proxies};
use crate::policy;
use crate::room::{EventId, Gate, GateState, Signal};

/// Why nobody can be asked at all.
#[derive(Debug, thiserror::Error)]
pub enum GatesError {
    /// An alarm is to be asked, and its region is not known.
    #[error("the alarm of an inlet cannot be asked: {0}")]
    Region(#[from] NoRegion),
    /// A health address cannot be called.
    #[error("the health address of an inlet cannot be called: {0}")]
    Health(#[from] OutboundError),
}

/// The questions of a running deployment; they end with [`Gates::stop`].
pub struct Gates {
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Gates {
    /// Begins to ask.
    ///
    /// # Errors
    /// See [`GatesError`].
    pub async fn start(lobby: &Arc<Lobby>) -> Result<Self, GatesError> {
        let mut asked = Vec::new();
        for room in lobby.rooms() {
            if let Some(gate) = &room.settings.gate {
                asked.push((Arc::clone(room), gate.clone(), Oracle::of(&gate.signal).await?));
            }
        }
        let stop = watch::Sender::new(false);
        let ask = |(room, gate, oracle)| tokio::spawn(watch(Arc::clone(lobby), room, gate, oracle, stop.subscribe()));
        let tasks = asked.into_iter().map(ask).collect();
        Ok(Self { stop, tasks })
    }

    /// Ends the questions and waits for their end.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        for task in self.tasks {
            if let Err(error) = task.await {
                tracing::error!(%error, "a gate's task ended badly");
            }
        }
    }
}

async fn watch(lobby: Arc<Lobby>, room: Arc<Room>, gate: Gate, oracle: Oracle, mut stop: watch::Receiver<bool>) {
    let asking = async {
        let mut turns = interval(gate.check_every);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            turns.tick().await;
            let found = oracle.ask(&room.settings.id, lobby.now()).await;
            if let Err(error) = lobby.set_gate_state(&room, found).await {
                tracing::warn!(event = %room.settings.id, %error, "how the gate stands cannot be told");
            }
        }
    };
    tokio::select! {
        () = asking => {}
        _ = stop.wait_for(|&stopped| stopped) => {}
    }
}

/// Who is asked.
enum Oracle {
    Alarm { alarm: Alarm, complaints: Complaints },
    Health { client: Client, address: Url },
}

impl Oracle {
    async fn of(signal: &Signal) -> Result<Self, GatesError> {
        Ok(match signal {
            Signal::Alarm(name) => {
                let alarm = Alarm::new(&aws::regional_config().await?, name);
                Self::Alarm { alarm, complaints: Complaints::default() }
            }
            Signal::Health(address) => {
                let client = outbound::client(address, policy::HEALTH_PATIENCE, Proxies::FromEnvironment)?;
                Self::Health { client, address: address.clone() }
            }
        })
    }

    /// How the gate of `event` stands at `now`.
    async fn ask(&self, event: &EventId, now: Timestamp) -> GateState {
        match self {
            Self::Alarm { alarm, complaints } => match alarm.state().await {
                Ok(state) => {
                    complaints.settle();
                    of_alarm(&state)
                }
                Err(error) => {
                    // AWS's words name accounts and roles: they are for the log, and not for those who hear of the gate.
                    if complaints.is_news(&error, now) {
                        tracing::warn!(%event, error, "the alarm of an inlet cannot be asked");
                    }
                    GateState::Closed("the alarm cannot be asked".to_owned())
                }
            },
            Self::Health { client, address } => match health(client, address).await {
                Ok(()) => GateState::Open,
                Err(error) => GateState::Closed(format!("the health address is not well: {error}")),
            },
        }
    }
}

fn of_alarm(state: &AlarmState) -> GateState {
    match state {
        AlarmState::Silent => GateState::Open,
        AlarmState::Ringing => GateState::Closed("the alarm rings".to_owned()),
        AlarmState::Missing => GateState::Closed("there is no such alarm".to_owned()),
    }
}

async fn health(client: &Client, address: &Url) -> Result<(), OutboundError> {
    outbound::consent(client.get(address.clone()).send().await?).map(drop)
}
