//! Labels for features of an SAE by a language model, with scores.
//!
//! The recipe is that of delphi (Paulo et al. 2024, "Automatically Interpreting Millions of Features in Large
//! Language Models"). A model gets excerpts in which the tokens that activate a feature are marked, and
//! explains what they have in common. Then it gets other excerpts, half of which have the feature, and says
//! which those are by the explanation alone. The balanced accuracy of its verdicts is the label's score.
//!
//! [`Material::choose`] takes excerpts from a dashboard's page and from [`Windows`] of the same text,
//! [`Estimate`] says what the questions will cost, and [`label()`] asks them through a [`Client`] and appends
//! the answers to an [`ExplanationFile`], which `nanoscope-checkpoint` reads as labels.
//!
//! ```
//! use nanoscope_label::Detection;
//!
//! let mut detection = Detection::default();
//! for (fires, verdict) in [(true, true), (true, true), (false, false), (false, true)] {
//!     detection.add(fires, verdict);
//! }
//! assert_eq!(detection.balanced_accuracy(), Some(0.75));
//! ```
//!
//! Requests go only to the address in the [`Endpoint`] that the caller makes, and only in [`Client::ask`].
//! Answers are untrusted: they are bounded in size, and a label is one visible line.

mod answer;
mod client;
mod error;
mod estimate;
mod excerpt;
mod explained;
mod explanation_file;
mod material;
mod prompt;
mod run;
mod score;
mod settings;
mod windows;

pub use client::{Answer, Client, ClientOptions, Endpoint, Usage};
pub use error::LabelError;
pub use estimate::{Estimate, Prices};
pub use excerpt::Excerpt;
pub use explained::Explained;
pub use explanation_file::{ExplanationFile, Origin};
pub use material::{Material, Samples, TestContext};
pub use prompt::Message;
pub use run::{Event, label};
pub use score::Detection;
pub use settings::Settings;
pub use windows::Windows;
