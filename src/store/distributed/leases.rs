//! Leases: one node at a time relays outbox records, delivers to a sink, or sweeps.
//!
//! Time is each node's own steady time alone: a node takes over a lease that it has seen unchanged for as long as leases
//! last. So clocks that differ or are set neither keep the work of a dead node from the others nor have two nodes do it at
//! once. Owns the shelf `lease` of the table `Outbox`; must not know what the work is.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::client::{Attributes, Condition, Table, Tables, Written, number, text};
use super::context::Context;
use super::outbox_rows::key;
use crate::ambient::{Clock, Timestamp};
use crate::policy::LEASE;
use crate::store::StoreError;

/// What a node knows of a lease.
#[derive(Clone, PartialEq, Eq)]
enum Known {
    /// It is this node's, which said so `at` that time.
    Ours { at: Duration, until: Timestamp },
    /// It is another's, and stands so since then at least.
    Others { since: Duration, holder: String, until: Timestamp },
}

/// See the module's documentation.
pub(super) struct Leases {
    tables: Tables,
    clock: Arc<dyn Clock>,
    node: String,
    /// By what the lease is of. Held while a lease is taken, so that one request is made for it.
    known: tokio::sync::Mutex<HashMap<String, Known>>,
}

impl Leases {
    pub(super) fn new(context: &Context) -> Self {
        let Context { tables, clock, node, .. } = context.clone();
        Self { tables, clock, node, known: tokio::sync::Mutex::default() }
    }

    /// Takes or keeps a lease. Whether this node has it now.
    pub(super) async fn take(&self, what: &str) -> Result<bool, StoreError> {
        let (clock, node) = (&self.clock, self.node.as_str());
        let mut leases = self.known.lock().await;
        let known = leases.get(what).cloned();
        // Its end is counted from before it is written.
        let at = clock.steady();
        let mut until = clock.now() + LEASE;
        let mut free = Condition::new("attribute_not_exists(shelf) OR holder = :me");
        match &known {
            // Half of it is left: good enough.
            Some(Known::Ours { at: before, .. }) if at < *before + LEASE / 2 => return Ok(true),
            // Others see by another end that it was renewed, wherever the clock was set to.
            Some(Known::Ours { until: before, .. }) if *before == until => until = until + Duration::from_secs(1),
            Some(Known::Others { since, holder, until }) if *since + LEASE <= at => {
                let unchanged =
                    "attribute_not_exists(shelf) OR holder = :me OR (holder = :holder AND held_until = :until)";
                free = Condition::new(unchanged)
                    .with(":holder", text(holder.as_str()))
                    .with(":until", number(until.as_secs()));
            }
            Some(Known::Ours { .. } | Known::Others { .. }) | None => {}
        }
        // The end is for nodes of older versions, which go by their clocks.
        let item = lease_key(what).with_text("holder", node).with_time("held_until", until);
        let written = self.tables.put(Table::Outbox, item, free.with(":me", text(node))).await?;
        let ours = written == Written::Done;
        let now_known = match written {
            Written::Done => Known::Ours { at, until },
            Written::Refused(there) => {
                let (holder, until) = (there.owned_text("holder")?, there.time("held_until")?);
                match known {
                    Some(Known::Others { since, holder: same, until: unchanged })
                        if (&same, unchanged) == (&holder, until) =>
                    {
                        Known::Others { since, holder, until }
                    }
                    _ => Known::Others { since: clock.steady(), holder, until },
                }
            }
        };
        leases.insert(what.to_owned(), now_known);
        Ok(ours)
    }

    /// Lets other nodes have at once what this one has leases of.
    pub(super) async fn give_back(&self) {
        let leases = std::mem::take(&mut *self.known.lock().await);
        let ours = leases.into_iter().filter(|(_, known)| matches!(known, Known::Ours { .. }));
        let given_back = join_all(ours.map(|(what, _)| async move {
            let still = Condition::new("holder = :me").with(":me", text(self.node.as_str()));
            self.tables.delete(Table::Outbox, lease_key(&what), still).await
        }));
        for error in given_back.await.into_iter().filter_map(Result::err) {
            tracing::debug!(%error, "a lease stays until others see that it is not renewed");
        }
    }
}

fn lease_key(what: &str) -> Attributes {
    key("lease", what)
}
