//! Tests of the server over real connections, with a small random model.

mod answers;
mod causes;
mod client;
mod fairness;
mod limits;
mod refusals;
mod scores;
mod test_server;
