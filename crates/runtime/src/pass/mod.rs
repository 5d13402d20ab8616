//! A forward pass that follows a plan.

pub(crate) mod applied_edits;
pub(crate) mod change;
pub(crate) mod checked_plan;
pub(crate) mod direction_rows;
pub(crate) mod edits;
pub(crate) mod non_finite;
pub(crate) mod pass_router;
pub(crate) mod plan_pass;
pub(crate) mod probe;
pub(crate) mod report;
pub(crate) mod splice;
pub(crate) mod token_positions;

pub use non_finite::{NonFinite, NonFiniteAt};
pub use report::InterventionReport;
