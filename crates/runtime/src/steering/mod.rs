//! Plans and interventions, with their text and JSON forms.

mod condition;
mod intervention;
mod json;
mod lex;
mod op;
mod plan;
mod plan_json;
mod positions;
mod share;
#[cfg(test)]
mod strategies;
mod syntax_error;
mod text;

pub use condition::Condition;
pub use intervention::{Intervention, Splice, Target, VectorName};
pub use op::{Op, Scale};
pub use plan::Plan;
pub use positions::{PositionRange, Positions};
pub use syntax_error::SyntaxError;
pub(crate) use text::check_target;
