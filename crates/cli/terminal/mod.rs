//! Output for people and for other programs, and signals.

pub(crate) mod applied;
pub(crate) mod differences;
pub(crate) mod display;
pub(crate) mod export;
pub(crate) mod feature_name;
pub(crate) mod messages;
pub(crate) mod progress;
pub(crate) mod signals;
pub(crate) mod token_lines;
pub(crate) mod word_wrap;
