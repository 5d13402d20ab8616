//! Counts of what each client holds of the resources that all clients share.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::ClientId;
use crate::config::Limits;

/// Counts what each client holds, and refuses what exceeds the total or the client's share of it. Clones
/// share the counts.
#[derive(Debug, Clone)]
pub(crate) struct Ledger(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    totals: [usize; RESOURCES.len()],
    /// The most that one client may hold.
    shares: [usize; RESOURCES.len()],
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    all: [usize; RESOURCES.len()],
    /// Only clients that hold something.
    by_client: HashMap<ClientId, [usize; RESOURCES.len()]>,
}

/// A resource that all clients share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resource {
    /// Open connections.
    Connections,
    /// Generations that wait or run.
    Generations,
    /// Passes that generate nothing and wait or run.
    Passes,
    /// Other work outside of the asynchronous threads, such as tokenizing, that waits or runs.
    Errands,
    /// Bytes of answers that clients have not read.
    UnreadBytes,
}

/// Every resource, with its name in the metrics; in the order of the enum.
pub(crate) const RESOURCES: [(Resource, &str); 5] = [
    (Resource::Connections, "connections"),
    (Resource::Generations, "generations"),
    (Resource::Passes, "passes"),
    (Resource::Errands, "errands"),
    (Resource::UnreadBytes, "unread_bytes"),
];

/// Maximum number of passes that wait, in addition to one that runs.
const MAX_WAITING_PASSES: usize = 64;
/// Maximum number of errands that wait or run.
const MAX_ERRANDS: usize = 256;

/// The reason a resource was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The client holds its share.
    Client,
    /// All clients together hold everything.
    Everyone,
}

/// An amount of a resource that a client holds until this is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    ledger: Ledger,
    client: ClientId,
    resource: Resource,
    amount: usize,
}

impl Ledger {
    /// Empty counts under the totals in `limits`, of which `connections` are open connections.
    pub(crate) fn new(limits: &Limits, connections: usize) -> Self {
        let mut totals = [0; RESOURCES.len()];
        for (total, (resource, _)) in totals.iter_mut().zip(RESOURCES) {
            *total = match resource {
                Resource::Connections => connections,
                Resource::Generations => limits.rows + limits.queue,
                Resource::Passes => MAX_WAITING_PASSES + 1,
                Resource::Errands => MAX_ERRANDS,
                Resource::UnreadBytes => limits.unread,
            };
        }
        let shares = totals.map(|total| limits.share_of(total));
        Self(Arc::new(Inner { totals, shares, counts: Mutex::default() }))
    }

    /// Takes `amount` of a resource for a client.
    ///
    /// # Errors
    /// [`Refused`] if the client or all clients together would hold too much.
    pub(crate) fn take(
        &self,
        client: ClientId,
        resource: Resource,
        amount: usize,
    ) -> Result<Held, Refused> {
        let at = resource as usize;
        let mut counts = self.counts();
        if counts.of(client)[at].saturating_add(amount) > self.0.shares[at] {
            return Err(Refused::Client);
        }
        if counts.all[at].saturating_add(amount) > self.0.totals[at] {
            return Err(Refused::Everyone);
        }
        Ok(self.hold(&mut counts, client, resource, amount))
    }

    /// Counts `bytes` of an answer that its client has not read. They are there already, so they are never
    /// refused; [`reads_too_little`](Self::reads_too_little) tells whether there may be more.
    pub(crate) fn add_unread(&self, client: ClientId, bytes: usize) -> Held {
        self.hold(&mut self.counts(), client, Resource::UnreadBytes, bytes)
    }

    /// True if the unread bytes of the client exceed its share, or those of all clients the total and its own
    /// those of an average client.
    pub(crate) fn reads_too_little(&self, client: ClientId) -> bool {
        let at = Resource::UnreadBytes as usize;
        let (total, share) = (self.0.totals[at], self.0.shares[at]);
        let counts = self.counts();
        let own = counts.of(client)[at];
        if own > share || counts.all[at] <= total {
            return own > share;
        }
        let clients = counts.by_client.values().filter(|held| held[at] > 0).count();
        own > total / clients.max(1)
    }

    /// The bytes of answers that the client has not read.
    pub(crate) fn unread_of(&self, client: ClientId) -> usize {
        self.counts().of(client)[Resource::UnreadBytes as usize]
    }

    /// The amount of a resource that all clients hold.
    pub(crate) fn held(&self, resource: Resource) -> usize {
        self.counts().all[resource as usize]
    }

    /// The number of clients that hold something.
    pub(crate) fn clients(&self) -> usize {
        self.counts().by_client.len()
    }

    fn hold(
        &self,
        counts: &mut Counts,
        client: ClientId,
        resource: Resource,
        amount: usize,
    ) -> Held {
        if amount > 0 {
            counts.all[resource as usize] += amount;
            counts.by_client.entry(client).or_default()[resource as usize] += amount;
        }
        Held { ledger: self.clone(), client, resource, amount }
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        // No operation leaves the counts half changed, so a poisoned lock is safe to use.
        self.0.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    fn of(&self, client: ClientId) -> [usize; RESOURCES.len()] {
        self.by_client.get(&client).copied().unwrap_or_default()
    }
}

impl Held {
    /// The client that holds it.
    pub(crate) fn client(&self) -> ClientId {
        self.client
    }

    /// Takes one unit out of it.
    pub(crate) fn split_one(&mut self) -> Option<Self> {
        self.amount = self.amount.checked_sub(1)?;
        Some(Self { ledger: self.ledger.clone(), amount: 1, ..*self })
    }

    /// Holds what `other` holds, of the same client and resource, as well.
    pub(crate) fn merge(&mut self, mut other: Self) {
        debug_assert_eq!((self.client, self.resource), (other.client, other.resource));
        self.amount += std::mem::take(&mut other.amount);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.amount == 0 {
            return;
        }
        let at = self.resource as usize;
        let mut counts = self.ledger.counts();
        counts.all[at] -= self.amount;
        if let Entry::Occupied(mut held) = counts.by_client.entry(self.client) {
            held.get_mut()[at] -= self.amount;
            if held.get().iter().all(|&amount| amount == 0) {
                held.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: ClientId = ClientId::Key(1);
    const OTHER: ClientId = ClientId::Key(2);

    fn ledger() -> Ledger {
        let limits =
            Limits { rows: 4, queue: 4, unread: 1000, client_share: 75, ..Limits::default() };
        Ledger::new(&limits, 2)
    }

    #[test]
    fn a_client_holds_at_most_its_share_and_all_of_them_at_most_everything() {
        let ledger = ledger();
        let take = |client, amount| ledger.take(client, Resource::Generations, amount);

        let mut first = take(ONE, 6).unwrap();
        assert_eq!(take(ONE, 1).unwrap_err(), Refused::Client);
        let _rest = take(OTHER, 2).unwrap();
        assert_eq!(take(OTHER, 1).unwrap_err(), Refused::Everyone);
        assert_eq!((ledger.held(Resource::Generations), ledger.clients()), (8, 2));

        let one = first.split_one().unwrap();
        drop(first);
        assert_eq!(ledger.held(Resource::Generations), 3);
        drop(one);
        assert_eq!((ledger.held(Resource::Generations), ledger.clients()), (2, 1));
    }

    #[test]
    fn a_small_total_is_not_divided() {
        let ledger = ledger();

        let _both = ledger.take(ONE, Resource::Connections, 2).unwrap();
    }

    #[test]
    fn only_clients_that_hold_more_than_the_others_read_too_little() {
        let ledger = ledger();

        let mut first = ledger.add_unread(ONE, 700);
        assert!(!ledger.reads_too_little(ONE));
        first.merge(ledger.add_unread(ONE, 51));
        assert!(ledger.reads_too_little(ONE), "751 of 750");
        assert!(!ledger.reads_too_little(OTHER));

        let second = ledger.add_unread(OTHER, 400);
        assert!(!ledger.reads_too_little(OTHER), "less than half of what there may be");
        let _more = ledger.add_unread(OTHER, 101);
        assert!(ledger.reads_too_little(OTHER), "more than half");

        drop((first, second));
        assert_eq!(ledger.held(Resource::UnreadBytes), 101);
        assert!(!ledger.reads_too_little(OTHER));
    }
}
