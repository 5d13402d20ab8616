//! Reading folders and text files of untrusted origin.

pub(crate) mod json;
mod read_dir;
#[cfg(feature = "sae")]
pub(crate) mod yaml;

pub(crate) use read_dir::entries;
