//! `nanoscope chat`: an interactive session that shows the features of each token as it appears.
//!
//! A `Session` (the dialogue) and an `App` (the screen) change with each line or key; neither has
//! access to a terminal or a model. A worker thread owns the model and sends events, and the
//! picture is drawn from the state. A terminal and a pipe share everything except this last step.
//! Keys are read on a third thread, because crossterm does not return from a terminal that has gone
//! away; the main loop checks at each turn that it is still there.

mod args;
mod command;
mod job;
mod mode;
mod plain;
mod screen;
mod session;
mod start;
mod submit;
#[cfg(test)]
mod test_session;
mod turn;
mod why;
mod worker;

pub(crate) use self::args::ChatArgs;
pub(crate) use self::start::chat;
