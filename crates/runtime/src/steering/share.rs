//! Strengths in percent of the norm of the activation.

use super::op::{Op, Scale};
use super::syntax_error::SyntaxError;

/// Builds the operation `name` from a share of the norm in percent.
pub(super) fn parse_share(
    name: &str,
    percent: &str,
    scale: Option<&str>,
) -> Result<Op, SyntaxError> {
    let share = |op: fn(f32, Scale) -> Op| {
        let share = percent.trim_end().parse().ok().map(|percent: f64| (percent / 100.0) as f32);
        let share = share.filter(|share| share.is_finite());
        let share = share.ok_or(SyntaxError::Share { found: format!("{percent}%") })?;
        match scale {
            Some(_) => Err(SyntaxError::ScaledShare { found: format!("{percent}%") }),
            None => Ok(op(share, Scale::Norm)),
        }
    };
    match name {
        "add" => share(Op::Add),
        "orthogonal" => share(Op::Orthogonal),
        known if Op::NAMES.contains(&known) => Err(SyntaxError::NoShare { op: known.to_owned() }),
        _ => Err(SyntaxError::Op { found: name.to_owned() }),
    }
}

/// `share` in percent, if that reads back as the same number.
pub(super) fn percent(share: f32) -> Option<String> {
    let share_digits: f64 = share.to_string().parse().ok()?;
    // The product has digits of its own in the last places.
    let percent = format!("{:.6}", share_digits * 100.0);
    let percent = percent.trim_end_matches('0').trim_end_matches('.');
    let read: f64 = percent.parse().ok()?;
    ((read / 100.0) as f32 == share && (share != 0.0 || share.is_sign_positive()))
        .then(|| percent.to_owned())
}
