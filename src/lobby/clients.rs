//! The relying parties of a deployment, found by `client_id`.

use std::collections::HashMap;
use std::sync::Arc;

use crate::oauth::Client;
use crate::room::EventId;

/// A relying party and the event whose queue its visitors join.
#[derive(Debug)]
pub struct RegisteredClient {
    /// The relying party.
    pub client: Client,
    /// Its event.
    pub event: EventId,
}

/// All relying parties.
#[derive(Debug, Default)]
pub struct Clients(HashMap<String, Arc<RegisteredClient>>);

impl Clients {
    /// The client with this ID.
    pub fn find(&self, client_id: &str) -> Option<&Arc<RegisteredClient>> {
        self.0.get(client_id)
    }

    /// The only client of `event`, if it has exactly one.
    pub fn only_of(&self, event: &EventId) -> Option<&Arc<RegisteredClient>> {
        let mut of_event = self.0.values().filter(|registered| registered.event == *event);
        of_event.next().filter(|_| of_event.next().is_none())
    }

    /// All clients, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Client> + Clone {
        self.0.values().map(|registered| &registered.client)
    }
}

impl FromIterator<RegisteredClient> for Clients {
    fn from_iter<I: IntoIterator<Item = RegisteredClient>>(clients: I) -> Self {
        Self(clients.into_iter().map(|one| (one.client.id.clone(), Arc::new(one))).collect())
    }
}
