//! Brief connections: those beyond the visitors' part, or beyond the share that one address has of it. Each carries one
//! request, and all of them give way when another connection needs the room.
//!
//! Owns who gives way: a connection of the address that has the most of them, the oldest that has not sent its whole
//! request, else the oldest whose response is being written. One whose request is being handled never does, as its
//! effect may have happened. So a client that opens many takes the room from itself alone.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use tokio::sync::Notify;

use super::AddressKey;

/// How far a brief connection is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// Its request has not come whole.
    Reading,
    /// Its request is being handled.
    Handling,
    /// Its response is being written, or what the client still sends is passed over.
    Writing,
}

/// What brief connections are counted by; those without a limit of their own are counted together.
type Group = Option<AddressKey>;

/// How much a group is to give way: the one with the most connections first; among equals one that has a request to
/// wait for, then the one that has held its connection for longest.
type Rank = (usize, bool, Reverse<u64>);

/// All brief connections of a listener.
#[derive(Default)]
pub(super) struct BriefConnections {
    all: HashMap<u64, (Group, Stage, Arc<Notify>)>,
    groups: BTreeMap<Group, Members>,
    /// The groups that have a connection to give way.
    ranks: BTreeSet<(Rank, Group)>,
    next: u64,
}

/// The connections of one group, by number: the lower, the older.
#[derive(Default)]
struct Members {
    reading: BTreeSet<u64>,
    handling: BTreeSet<u64>,
    writing: BTreeSet<u64>,
}

impl Members {
    fn of(&mut self, stage: Stage) -> &mut BTreeSet<u64> {
        match stage {
            Stage::Reading => &mut self.reading,
            Stage::Handling => &mut self.handling,
            Stage::Writing => &mut self.writing,
        }
    }

    fn len(&self) -> usize {
        self.reading.len() + self.handling.len() + self.writing.len()
    }

    fn first_to_give_way(&self) -> Option<u64> {
        self.reading.first().or_else(|| self.writing.first()).copied()
    }

    fn rank(&self) -> Option<Rank> {
        self.first_to_give_way().map(|number| (self.len(), !self.reading.is_empty(), Reverse(number)))
    }
}

impl BriefConnections {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// Adds one; its number.
    pub(super) fn insert(&mut self, group: Group, evicted: Arc<Notify>) -> u64 {
        let number = self.next;
        self.next += 1;
        self.all.insert(number, (group, Stage::Reading, evicted));
        self.change(group, |members| {
            members.reading.insert(number);
        });
        number
    }

    /// Says how far a connection is; `false`: it has given way.
    pub(super) fn set_stage(&mut self, number: u64, stage: Stage) -> bool {
        let Some((group, current, _)) = self.all.get_mut(&number) else { return false };
        let (group, before) = (*group, std::mem::replace(current, stage));
        self.change(group, |members| {
            members.of(before).remove(&number);
            members.of(stage).insert(number);
        });
        true
    }

    /// Removes one, if it has not given way.
    pub(super) fn remove(&mut self, number: u64) {
        self.take(number);
    }

    /// Makes one give way; `false`: none can.
    pub(super) fn evict(&mut self) -> bool {
        let group = self.ranks.last().map(|(_, group)| *group);
        let number = group.and_then(|group| self.groups.get(&group)).and_then(Members::first_to_give_way);
        let evicted = number.and_then(|number| self.take(number));
        evicted.inspect(|evicted| evicted.notify_one()).is_some()
    }

    fn take(&mut self, number: u64) -> Option<Arc<Notify>> {
        let (group, stage, evicted) = self.all.remove(&number)?;
        self.change(group, |members| {
            members.of(stage).remove(&number);
        });
        Some(evicted)
    }

    /// Changes a group, and its rank with it.
    fn change(&mut self, group: Group, change: impl FnOnce(&mut Members)) {
        let members = self.groups.entry(group).or_default();
        let before = members.rank();
        change(members);
        let (after, is_empty) = (members.rank(), members.len() == 0);
        if is_empty {
            self.groups.remove(&group);
        }
        if before != after {
            before.map(|rank| self.ranks.remove(&(rank, group)));
            after.map(|rank| self.ranks.insert((rank, group)));
        }
    }

    #[cfg(test)]
    pub(super) fn is_forgotten(&self) -> bool {
        self.all.is_empty() && self.groups.is_empty() && self.ranks.is_empty()
    }
}
