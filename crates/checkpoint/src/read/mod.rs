//! Reading folders and text files of untrusted origin.

pub(crate) mod json;
pub(crate) mod lfs;
mod read_dir;
#[cfg(feature = "sae")]
pub(crate) mod yaml;

pub use lfs::is_lfs_pointer;
pub(crate) use read_dir::entries;
