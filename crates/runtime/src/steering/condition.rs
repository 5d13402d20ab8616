use std::fmt;
use std::str::FromStr;

use nanoscope_hooks::HookPoint;

use super::lex::{feature_index, finite};
use super::syntax_error::SyntaxError;

/// A threshold on a feature's activation at a position.
///
/// The activation is read as it arrives at the hook point, before any intervention there.
///
/// The text form is `HOOK:FEATURE>T`; [`Display`](fmt::Display) and [`FromStr`] are inverses. The
/// JSON form is an object with the keys `hook`, `feature` and `above`; the text is accepted too.
///
/// ```
/// use nanoscope_runtime::Condition;
///
/// let condition: Condition = "blocks.1.hook_resid_post:12 > 2.5".parse().unwrap();
/// assert_eq!((condition.feature, condition.above), (12, 2.5));
/// assert_eq!(condition.to_string(), "blocks.1.hook_resid_post:12>2.5");
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Condition {
    /// The hook point of the SAE; for a transcoder, the one that it reads.
    pub hook: HookPoint,
    /// The feature's index in that SAE.
    pub feature: usize,
    /// The threshold; the condition holds for activations strictly above it.
    pub above: f32,
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}>{}", self.hook, self.feature, self.above)
    }
}

impl FromStr for Condition {
    type Err = SyntaxError;

    fn from_str(text: &str) -> Result<Self, SyntaxError> {
        let form = || SyntaxError::Condition { found: text.to_owned() };
        let (what, above) = text.split_once('>').ok_or_else(form)?;
        let (hook, feature) = what.trim().rsplit_once(':').ok_or_else(form)?;
        let hook =
            hook.parse().map_err(|error| SyntaxError::Hook { text: text.to_owned(), error })?;
        let feature = feature_index(feature)
            .ok_or_else(|| SyntaxError::ConditionFeature { found: feature.to_owned() })?;
        let above = finite(above.trim())
            .ok_or_else(|| SyntaxError::Threshold { found: above.trim().to_owned() })?;
        Ok(Self { hook, feature, above })
    }
}
