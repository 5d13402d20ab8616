//! `nanoscope chat`: an interactive session that shows the features of each token as it appears.

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
mod worker;

pub(crate) use self::args::ChatArgs;
pub(crate) use self::start::chat;
