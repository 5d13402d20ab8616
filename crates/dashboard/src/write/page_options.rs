use nanoscope_checkpoint::CheckpointError;
use nanoscope_index::SteeringShares;
use nanoscope_tokenizer::Tokenizer;
use serde_json::{Value, json};
use std::path::PathBuf;

use crate::significant::significant;

/// The input of a dashboard's pages besides its data.
#[derive(Debug, Clone)]
pub struct PageOptions<'a> {
    /// The name of the model.
    pub name: &'a str,
    /// The tokenizer, for the texts of tokens; without one they are shown as numbers.
    pub tokenizer: Option<&'a Tokenizer>,
    /// The command for steering that a feature's page shows.
    pub steer: SteerCommand,
}

impl<'a> PageOptions<'a> {
    /// Options with the default command for steering.
    pub fn new(name: &'a str, tokenizer: Option<&'a Tokenizer>) -> Self {
        Self { name, tokenizer, steer: SteerCommand::default() }
    }
}

/// The parts of the command for steering with a feature that are the same on every page.
#[derive(Debug, Clone, PartialEq)]
pub struct SteerCommand {
    /// The flags of `nanoscope generate` that select the model and the SAE, quoted for a shell; empty for the
    /// built-in demo, and `None` if they are unknown. Default: `None`.
    pub flags: Option<String>,
    /// The strength, as a share of the norm of the activation. Default: [`SteeringShares::UNMEASURED`].
    pub share: f32,
}

impl Default for SteerCommand {
    fn default() -> Self {
        Self { flags: None, share: SteeringShares::UNMEASURED }
    }
}

impl SteerCommand {
    /// The command as the pages read it.
    pub(super) fn to_json(&self) -> Value {
        let percent = significant(self.share * 100.0, 3);
        json!({"flags": self.flags.as_deref().map(str::trim), "strength": format!("{percent}%")})
    }
}

/// A written dashboard.
#[derive(Debug)]
pub struct Written {
    /// The page to open.
    pub page: PathBuf,
    /// The number of dashboards of the same model beside this one, which it links to.
    pub siblings: usize,
    /// Errors from adding a link to this dashboard to the others.
    pub unlinked: Vec<CheckpointError>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strength_is_a_percentage_and_unknown_flags_are_null() {
        let json = |flags: Option<&str>, share| {
            SteerCommand { flags: flags.map(str::to_owned), share }.to_json().to_string()
        };

        assert_eq!(SteerCommand::default().to_json().to_string(), json(None, 0.3));
        assert_eq!(json(None, 0.3), r#"{"flags":null,"strength":"30%"}"#);
        assert_eq!(json(Some(" --model m"), 0.125), r#"{"flags":"--model m","strength":"12.5%"}"#);
        assert_eq!(json(Some(""), 1.0), r#"{"flags":"","strength":"100%"}"#);
    }
}
