//! Clients, and the bounds on what one of them can hold.

mod fair_queue;
mod held_body;
mod id;
mod ledger;

pub(crate) use fair_queue::FairQueue;
pub(crate) use held_body::hold;
pub(crate) use id::{ClientId, forwarded};
pub(crate) use ledger::{Held, Ledger, RESOURCES, Refused, Resource};
