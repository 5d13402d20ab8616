//! Everything about one question, with the texts of tokens, to print or to send.

mod build;
mod options;
mod parts;

pub use options::{Asked, ReportOptions};
pub use parts::{
    Report, ReportComponent, ReportError, ReportFaithfulness, ReportFeature, ReportHook,
    ReportKept, ReportLens, ReportMetric, ReportSubject, ReportTargetFeature, ReportToken,
};
