//! Generation of texts: requests, the thread that runs them in batches, and stop strings.

pub(crate) mod scheduler;
pub(crate) mod stop_strings;
