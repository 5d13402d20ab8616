//! Attribution: against numbers of nanochat's own model, and properties that hold for every model.

mod graph;
mod properties;
mod reference;
