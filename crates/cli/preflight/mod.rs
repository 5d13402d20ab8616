//! Checks before long work: that its outputs can be written and replace no input, and that it fits in memory.

mod folder;
mod memory;
mod outputs;

pub(crate) use self::folder::{NewFolder, output_folder, replaceable_folder};
pub(crate) use self::memory::{check_memory, is_cpu};
pub(crate) use self::outputs::{Inputs, check_outputs, real_path};
