//! SAEs of nanochat-SAE and of other tools with one thing wrong.

mod configs;
mod containers;
mod formats;
mod keys;
mod saved;
mod weights;
