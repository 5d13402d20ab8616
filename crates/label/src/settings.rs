use nanoscope_corpus::text_sha256;
use serde_json::json;

use crate::material::Samples;
use crate::prompt::PROMPT_VERSION;

/// Everything that an explanation depends on besides its SAE.
#[derive(Debug, Clone, Copy)]
pub struct Settings<'s> {
    /// The name of the language model that explains.
    pub model: &'s str,
    /// The SHA-256 of the tokens of the text.
    pub text: &'s str,
    /// The number of tokens per context.
    pub context_len: usize,
    /// The choice of excerpts.
    pub samples: Samples,
}

impl Settings<'_> {
    /// 16 hexadecimal digits, equal for equal settings.
    pub fn digest(&self) -> String {
        let Self { model, text, context_len, samples } = self;
        let Samples { shown, tested, window, seed } = samples;
        let all = json!([PROMPT_VERSION, model, text, context_len, shown, tested, window, seed]);
        text_sha256(all.to_string())[..16].to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_changes_the_digest() {
        let samples = Samples { shown: 20, tested: 20, window: 16, seed: 42 };
        let settings = Settings { model: "m", text: "00", context_len: 64, samples };
        let digest = settings.digest();

        assert_eq!(digest.len(), 16);
        assert_eq!(digest, settings.digest());
        for other in [
            Settings { model: "n", ..settings },
            Settings { text: "01", ..settings },
            Settings { context_len: 65, ..settings },
            Settings { samples: Samples { shown: 21, ..samples }, ..settings },
            Settings { samples: Samples { tested: 21, ..samples }, ..settings },
            Settings { samples: Samples { window: 17, ..samples }, ..settings },
            Settings { samples: Samples { seed: 43, ..samples }, ..settings },
        ] {
            assert_ne!(other.digest(), digest, "{other:?}");
        }
    }
}
