//! Checks before long work: that its folder can be written, and that it fits in memory.

mod folder;
mod memory;

pub(crate) use self::folder::{NewFolder, output_folder, replaceable_folder};
pub(crate) use self::memory::{check_memory, is_cpu};
