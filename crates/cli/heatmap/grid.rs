//! The content of a heat map, before it is laid out.

use nanoscope_hooks::HookPoint;

/// A heat map: rows by hook point, and the columns of each text.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Grid {
    pub(super) groups: Vec<Group>,
    /// True if the rows were asked for one by one.
    pub(super) is_chosen: bool,
    /// The texts of a batch; one for a generation.
    pub(super) texts: Vec<Vec<Column>>,
}

/// The rows of a hook point.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Group {
    pub(super) hook: HookPoint,
    /// The activation that has the full shade.
    pub(super) largest: f32,
    pub(super) rows: Vec<FeatureRow>,
}

/// The feature of a row.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct FeatureRow {
    pub(super) feature: u32,
    pub(super) label: Option<String>,
}

/// A token with its activations.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Column {
    /// The token as it is drawn.
    pub(super) token: String,
    pub(super) is_prompt: bool,
    /// For each group an activation per row; 0 where the feature is not active.
    pub(super) values: Vec<Vec<f32>>,
}

impl Group {
    /// The shade of an activation in `0..=1`, whatever its sign.
    pub(super) fn share(&self, value: f32) -> f32 {
        if value == 0.0 { 0.0 } else { (value.abs() / self.largest).clamp(0.0, 1.0) }
    }
}

impl FeatureRow {
    /// The index, and the label if there is one.
    pub(super) fn name(&self) -> String {
        match &self.label {
            Some(label) => format!("#{} {label}", self.feature),
            None => format!("#{}", self.feature),
        }
    }
}

/// An activation with about three digits.
pub(super) fn number(value: f32) -> String {
    match value.abs() {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        1.0.. => format!("{value:.2}"),
        0.01.. => format!("{value:.3}"),
        0.0 => "0".to_owned(),
        _ => format!("{value:.1e}"),
    }
}

/// A map for tests: two hook points, a prompt of two tokens and three generated ones.
#[cfg(test)]
pub(super) fn example() -> Grid {
    let row =
        |feature, label: Option<&str>| FeatureRow { feature, label: label.map(str::to_owned) };
    let column = |token: &str, is_prompt, values: [f32; 3]| Column {
        token: token.to_owned(),
        is_prompt,
        values: vec![values[..2].to_vec(), values[2..].to_vec()],
    };
    Grid {
        is_chosen: true,
        groups: vec![
            Group {
                hook: HookPoint::ResidPost(3),
                largest: 40.0,
                rows: vec![row(1909, Some("a dog & <its> \"owner\"")), row(7, None)],
            },
            Group { hook: HookPoint::ResidPost(1), largest: 2.0, rows: vec![row(5, None)] },
        ],
        texts: vec![vec![
            column("<|bos|>", true, [90.0, 0.0, 0.0]),
            column("The", true, [0.0, 4.0, 0.0]),
            column("·dog", false, [40.0, 0.0, -1.0]),
            column("<script>", false, [20.0, 0.0, 0.0]),
            column("⟨202E⟩", false, [0.0, 0.0, 2.0]),
        ]],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_about_three_digits_whatever_its_size() {
        let numbers = [1234.5, -60.94, 2.0, 0.1234, -0.012, 0.000_034, 0.0].map(number);

        assert_eq!(numbers, ["1234", "-60.9", "2.00", "0.123", "-0.012", "3.4e-5", "0"]);
    }

    #[test]
    fn a_share_has_no_sign_and_ends_at_the_largest() {
        let group = &example().groups[0];

        assert_eq!(group.share(0.0), 0.0);
        assert_eq!(group.share(20.0), 0.5);
        assert_eq!(group.share(-20.0), 0.5);
        assert_eq!(group.share(90.0), 1.0);
        let silent = Group { largest: 0.0, ..group.clone() };
        assert_eq!((silent.share(0.0), silent.share(1.0)), (0.0, 1.0));
    }
}
