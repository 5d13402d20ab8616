//! Keys and values of earlier positions.

mod kv_cache;
mod prefix;

pub(crate) use kv_cache::{Caches, LayerCache, blocks};
pub use kv_cache::{KvCache, KvTail};
pub use prefix::Prefix;
