//! Text generation: requests, the worker that batches them, and stop strings.

mod inbox;
mod request;
mod scheduler;
mod stop_strings;
mod waiting;
mod worker;

pub(crate) use request::{End, Event, GenerationHandle, GenerationRequest};
pub(crate) use scheduler::{IdleWorker, Scheduler};
