use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use crate::HookError;

/// A named activation of a transformer's forward pass.
///
/// Names and meanings are `TransformerLens`'s; the number is the block's index from 0.
/// [`Display`](fmt::Display) writes the canonical name, [`FromStr`] reads it and the aliases that
/// nanochat-SAE's files and TransformerLens 3 and 4 use. Points order as the pass reaches them.
///
/// ```
/// use nanoscope_hooks::HookPoint;
///
/// let point: HookPoint = "blocks.2.hook_mlp".parse().unwrap(); // nanochat-SAE's name
/// assert_eq!(point, HookPoint::MlpOut(2));
/// assert_eq!(point.to_string(), "blocks.2.hook_mlp_out");
/// assert!(HookPoint::ResidPost(0) < HookPoint::ResidPre(1));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HookPoint {
    /// `hook_embed`: the token embedding, before any norm.
    Embed,
    /// `blocks.{i}.hook_resid_pre`: what block `i` reads.
    ResidPre(usize),
    /// `blocks.{i}.attn.hook_q`: queries, before rotary embedding and QK norm.
    Q(usize),
    /// `blocks.{i}.attn.hook_k`: keys, before rotary embedding and QK norm.
    K(usize),
    /// `blocks.{i}.attn.hook_v`: values, as the attention pattern weighs them.
    V(usize),
    /// `blocks.{i}.attn.hook_pattern`: attention weights, after the softmax.
    Pattern(usize),
    /// `blocks.{i}.attn.hook_z`: per head, the values weighed by the pattern.
    Z(usize),
    /// `blocks.{i}.hook_attn_out`: what attention adds to the residual stream.
    AttnOut(usize),
    /// `blocks.{i}.hook_resid_mid`: the residual stream between attention and MLP.
    ResidMid(usize),
    /// `blocks.{i}.ln2.hook_normalized`: what the MLP reads, after the norm.
    Ln2Normalized(usize),
    /// `blocks.{i}.mlp.hook_pre`: MLP hidden units, before the activation function.
    MlpPre(usize),
    /// `blocks.{i}.mlp.hook_post`: MLP hidden units, after the activation function.
    MlpPost(usize),
    /// `blocks.{i}.hook_mlp_out`: what the MLP adds to the residual stream.
    MlpOut(usize),
    /// `blocks.{i}.hook_resid_post`: the residual stream after block `i`.
    ResidPost(usize),
    /// `ln_final.hook_normalized`: what the unembedding reads.
    FinalNormalized,
}

/// The points of a block in the order in which a pass reaches them, with their canonical name
/// after `blocks.{i}.` and the other names that mean the same tensor.
const IN_BLOCK: [BlockPoint; 13] = [
    (HookPoint::ResidPre, "hook_resid_pre", &["hook_in"]),
    (HookPoint::Q, "attn.hook_q", &[]),
    (HookPoint::K, "attn.hook_k", &[]),
    (HookPoint::V, "attn.hook_v", &[]),
    (HookPoint::Pattern, "attn.hook_pattern", &[]),
    (HookPoint::Z, "attn.hook_z", &[]),
    (HookPoint::AttnOut, "hook_attn_out", &["hook_attn", "attn", "attn.hook_out"]),
    (HookPoint::ResidMid, "hook_resid_mid", &[]),
    (HookPoint::Ln2Normalized, "ln2.hook_normalized", &["mlp.hook_in"]),
    (HookPoint::MlpPre, "mlp.hook_pre", &[]),
    (HookPoint::MlpPost, "mlp.hook_post", &[]),
    (HookPoint::MlpOut, "hook_mlp_out", &["hook_mlp", "mlp", "mlp.hook_out"]),
    (HookPoint::ResidPost, "hook_resid_post", &["hook_out"]),
];

type BlockPoint = (fn(usize) -> HookPoint, &'static str, &'static [&'static str]);

const EMBED: &str = "hook_embed";
const FINAL_NORMALIZED: &str = "ln_final.hook_normalized";

impl HookPoint {
    /// Every hook point of a model with `n_layer` blocks, in execution order.
    pub fn all(n_layer: usize) -> impl Iterator<Item = Self> {
        let blocks =
            (0..n_layer).flat_map(|layer| IN_BLOCK.iter().map(move |(point, ..)| point(layer)));
        std::iter::once(Self::Embed).chain(blocks).chain(std::iter::once(Self::FinalNormalized))
    }

    /// The block this point lies in; none for the embedding and the final norm.
    pub fn layer(self) -> Option<usize> {
        match self {
            Self::Embed | Self::FinalNormalized => None,
            Self::ResidPre(layer)
            | Self::Q(layer)
            | Self::K(layer)
            | Self::V(layer)
            | Self::Pattern(layer)
            | Self::Z(layer)
            | Self::AttnOut(layer)
            | Self::ResidMid(layer)
            | Self::Ln2Normalized(layer)
            | Self::MlpPre(layer)
            | Self::MlpPost(layer)
            | Self::MlpOut(layer)
            | Self::ResidPost(layer) => Some(layer),
        }
    }

    /// The other names by which [`FromStr`] knows this point.
    pub fn aliases(self) -> Vec<String> {
        match (self.layer(), self.in_block()) {
            (Some(layer), Some((_, _, aliases))) => {
                aliases.iter().map(|alias| format!("blocks.{layer}.{alias}")).collect()
            }
            _ => Vec::new(),
        }
    }

    fn in_block(self) -> Option<&'static BlockPoint> {
        let layer = self.layer()?;
        IN_BLOCK.iter().find(|(point, ..)| point(layer) == self)
    }

    /// Position in the pass: before all blocks, in one, or after all. Compared at every hook point
    /// of every pass, so it is a jump and not a search of [`IN_BLOCK`].
    fn order(self) -> (u8, usize, u8) {
        match self {
            Self::Embed => (0, 0, 0),
            Self::ResidPre(layer) => (1, layer, 0),
            Self::Q(layer) => (1, layer, 1),
            Self::K(layer) => (1, layer, 2),
            Self::V(layer) => (1, layer, 3),
            Self::Pattern(layer) => (1, layer, 4),
            Self::Z(layer) => (1, layer, 5),
            Self::AttnOut(layer) => (1, layer, 6),
            Self::ResidMid(layer) => (1, layer, 7),
            Self::Ln2Normalized(layer) => (1, layer, 8),
            Self::MlpPre(layer) => (1, layer, 9),
            Self::MlpPost(layer) => (1, layer, 10),
            Self::MlpOut(layer) => (1, layer, 11),
            Self::ResidPost(layer) => (1, layer, 12),
            Self::FinalNormalized => (2, 0, 0),
        }
    }
}

impl Ord for HookPoint {
    fn cmp(&self, other: &Self) -> Ordering {
        self.order().cmp(&other.order())
    }
}

impl PartialOrd for HookPoint {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for HookPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.layer(), self.in_block()) {
            (Some(layer), Some((_, name, _))) => write!(f, "blocks.{layer}.{name}"),
            _ if *self == Self::Embed => f.write_str(EMBED),
            _ => f.write_str(FINAL_NORMALIZED),
        }
    }
}

impl FromStr for HookPoint {
    type Err = HookError;

    fn from_str(name: &str) -> Result<Self, HookError> {
        match name {
            EMBED => return Ok(Self::Embed),
            FINAL_NORMALIZED => return Ok(Self::FinalNormalized),
            _ => {}
        }
        let unknown = || HookError::Unknown { name: name.to_owned(), nearest: nearest(name) };
        let (layer, rest) = split_block(name).ok_or_else(unknown)?;
        IN_BLOCK
            .iter()
            .find(|(_, canonical, aliases)| *canonical == rest || aliases.contains(&rest))
            .map(|(point, ..)| point(layer))
            .ok_or_else(unknown)
    }
}

/// Splits `blocks.{i}.rest`; the index must be written as Rust prints it, so that `blocks.01.` and
/// `blocks.-1.` are no names.
fn split_block(name: &str) -> Option<(usize, &str)> {
    let (layer, rest) = name.strip_prefix("blocks.")?.split_once('.')?;
    let index: usize = layer.parse().ok()?;
    (index.to_string() == layer).then_some((index, rest))
}

/// The valid name most like `name`, if any is like it at all.
fn nearest(name: &str) -> Option<String> {
    const ALIKE: f64 = 0.75;
    /// Comparing takes time, and a file may hold a name of megabytes.
    const LONGEST: usize = 200;

    if name.len() > LONGEST {
        return None;
    }
    // A name of some block is compared with that block's names; anything else with block 0's.
    let layer = name
        .split('.')
        .nth(1)
        .map(|digits| digits.trim_start_matches('-'))
        .and_then(|digits| digits.parse().ok())
        .unwrap_or(0);
    let block = IN_BLOCK.iter().flat_map(|(_, canonical, aliases)| {
        std::iter::once(canonical).chain(aliases.iter()).map(move |n| format!("blocks.{layer}.{n}"))
    });
    block
        .chain([EMBED.to_owned(), FINAL_NORMALIZED.to_owned()])
        .map(|candidate| (strsim::jaro_winkler(name, &candidate), candidate))
        .filter(|(likeness, _)| *likeness > ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_point_reads_back_from_its_name_and_from_each_alias() {
        for point in HookPoint::all(3) {
            assert_eq!(point.to_string().parse(), Ok(point));
            for alias in point.aliases() {
                assert_eq!(alias.parse(), Ok(point), "{alias}");
            }
        }
    }

    #[test]
    fn points_order_as_the_pass_reaches_them() {
        let all: Vec<_> = HookPoint::all(12).collect();
        let mut sorted = all.clone();
        sorted.reverse();
        sorted.sort();

        assert_eq!(sorted, all);
    }

    #[test]
    fn names_that_the_reference_takes_for_something_else_are_errors() {
        for name in [
            "blocks.-1.hook_resid_post",
            "blocks.01.hook_resid_post",
            "blocks.1.hook_mlp_attn",
            "blocks.1.attn.hook_result",
            "blocks.1.",
            "blocks.1",
            "blocks",
            "transformer.h.2",
            "",
        ] {
            assert!(name.parse::<HookPoint>().is_err(), "{name}");
        }
    }

    #[test]
    fn a_misspelt_name_is_an_error_that_suggests_the_nearest() {
        let error = "blocks.4.hook_resid_pst".parse::<HookPoint>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "unknown hook point `blocks.4.hook_resid_pst`; did you mean `blocks.4.hook_resid_post`?"
        );

        let error = "xyz".parse::<HookPoint>().unwrap_err();
        assert_eq!(error.to_string(), "unknown hook point `xyz`; `nanoscope hooks` lists them");
    }

    proptest! {
        #[test]
        fn what_parses_prints_as_a_name_of_the_same_point(text in "(blocks\\.[0-9]{1,2}\\.)?[a-z_.]{0,20}") {
            if let Ok(point) = text.parse::<HookPoint>() {
                prop_assert_eq!(point.to_string().parse::<HookPoint>(), Ok(point));
            }
        }
    }
}
