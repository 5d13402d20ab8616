//! Plans and interventions, with their text and JSON forms.

pub(crate) mod condition;
pub(crate) mod intervention;
mod json;
pub(crate) mod op;
pub(crate) mod plan;
pub(crate) mod positions;
#[cfg(test)]
mod strategies;
pub(crate) mod text;

pub use condition::Condition;
pub use intervention::{Intervention, Splice, Target, VectorName};
pub use op::{Op, Scale};
pub use plan::Plan;
pub use positions::{Span, Where};
pub use text::SyntaxError;
