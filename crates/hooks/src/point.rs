use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use crate::HookError;
use crate::similar::most_similar;

/// A named activation of a transformer's forward pass.
///
/// Names and meanings are `TransformerLens`'s; the number is the block's index from 0.
/// [`Display`](fmt::Display) writes the canonical name. [`FromStr`] also reads the aliases that
/// nanochat-SAE's files and TransformerLens 3 and 4 use. Points are ordered as a pass reaches them.
/// Serde writes and reads the same names.
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
    /// `hook_embed`: the token embedding with its scale, before any norm and before positions.
    Embed,
    /// `hook_pos_embed`: the learned position embedding.
    PosEmbed,
    /// `blocks.{i}.hook_resid_pre`: the residual stream before block `i`.
    ResidPre(usize),
    /// `blocks.{i}.ln1.hook_normalized`: the input of attention, after the norm and before its gain.
    Ln1Normalized(usize),
    /// `blocks.{i}.attn.hook_in`: the input of attention, after the norm's gain and bias.
    AttnIn(usize),
    /// `blocks.{i}.attn.hook_q`: queries, before rotary embedding and QK norm.
    Q(usize),
    /// `blocks.{i}.attn.hook_k`: keys, before rotary embedding and QK norm.
    K(usize),
    /// `blocks.{i}.attn.hook_v`: values, as weighted by the attention pattern.
    V(usize),
    /// `blocks.{i}.attn.hook_rot_q`: queries after QK norm and rotary embedding, before the scores' scale.
    RotQ(usize),
    /// `blocks.{i}.attn.hook_rot_k`: keys after QK norm and rotary embedding.
    RotK(usize),
    /// `blocks.{i}.attn.hook_attn_scores`: attention scores after scale, softcap and mask; hidden keys
    /// are −∞.
    AttnScores(usize),
    /// `blocks.{i}.attn.hook_pattern`: attention weights, after the softmax.
    Pattern(usize),
    /// `blocks.{i}.attn.hook_z`: the values weighted by the pattern, per head.
    Z(usize),
    /// `blocks.{i}.attn.hook_out`: the output projection of attention, before a post-norm.
    AttnProjection(usize),
    /// `blocks.{i}.hook_attn_out`: the output of attention, as added to the residual stream.
    AttnOut(usize),
    /// `blocks.{i}.hook_resid_mid`: the residual stream between attention and MLP.
    ResidMid(usize),
    /// `blocks.{i}.ln2.hook_normalized`: the input of the MLP, after the norm and before its gain.
    Ln2Normalized(usize),
    /// `blocks.{i}.mlp.hook_in`: the input of the MLP, after the norm's gain and bias.
    MlpIn(usize),
    /// `blocks.{i}.mlp.hook_pre`: MLP hidden units, before the activation function; of a gated MLP the
    /// gate.
    MlpPre(usize),
    /// `blocks.{i}.mlp.hook_pre_linear`: the units of a gated MLP that the gate multiplies.
    MlpPreLinear(usize),
    /// `blocks.{i}.mlp.hook_post`: MLP hidden units, after the activation function and the gate.
    MlpPost(usize),
    /// `blocks.{i}.mlp.hook_out`: the output projection of the MLP, before a post-norm.
    MlpProjection(usize),
    /// `blocks.{i}.hook_mlp_out`: the output of the MLP, as added to the residual stream.
    MlpOut(usize),
    /// `blocks.{i}.hook_resid_post`: the residual stream after block `i`.
    ResidPost(usize),
    /// `ln_final.hook_normalized`: the residual stream after the last norm and before its gain.
    FinalNormalized,
}

/// The points of a block in the order in which a pass reaches them, each with its canonical name
/// after `blocks.{i}.` and its aliases.
const BLOCK_POINTS: [BlockPoint; 22] = [
    (HookPoint::ResidPre, "hook_resid_pre", &["hook_in", "ln1.hook_in"]),
    (HookPoint::Ln1Normalized, "ln1.hook_normalized", &[]),
    (HookPoint::AttnIn, "attn.hook_in", &["ln1.hook_out"]),
    (HookPoint::Q, "attn.hook_q", &["attn.q.hook_out"]),
    (HookPoint::K, "attn.hook_k", &["attn.k.hook_out"]),
    (HookPoint::V, "attn.hook_v", &["attn.v.hook_out"]),
    (HookPoint::RotQ, "attn.hook_rot_q", &[]),
    (HookPoint::RotK, "attn.hook_rot_k", &[]),
    (HookPoint::AttnScores, "attn.hook_attn_scores", &[]),
    (HookPoint::Pattern, "attn.hook_pattern", &[]),
    (HookPoint::Z, "attn.hook_z", &["attn.o.hook_in"]),
    (HookPoint::AttnProjection, "attn.hook_out", &[]),
    (HookPoint::AttnOut, "hook_attn_out", &["hook_attn", "attn"]),
    (HookPoint::ResidMid, "hook_resid_mid", &["hook_mlp_in", "ln2.hook_in"]),
    (HookPoint::Ln2Normalized, "ln2.hook_normalized", &[]),
    (HookPoint::MlpIn, "mlp.hook_in", &["ln2.hook_out"]),
    (HookPoint::MlpPre, "mlp.hook_pre", &[]),
    (HookPoint::MlpPreLinear, "mlp.hook_pre_linear", &[]),
    (HookPoint::MlpPost, "mlp.hook_post", &["mlp.out.hook_in"]),
    (HookPoint::MlpProjection, "mlp.hook_out", &[]),
    (HookPoint::MlpOut, "hook_mlp_out", &["hook_mlp", "mlp"]),
    (HookPoint::ResidPost, "hook_resid_post", &["hook_out"]),
];

type BlockPoint = (fn(usize) -> HookPoint, &'static str, &'static [&'static str]);

const EMBED: &str = "hook_embed";
const EMBED_ALIAS: &str = "embed.hook_out";
const POS_EMBED: &str = "hook_pos_embed";
const POS_EMBED_ALIAS: &str = "pos_embed.hook_out";
const FINAL_NORMALIZED: &str = "ln_final.hook_normalized";

impl HookPoint {
    /// Iterates over every hook point that a model with `n_layer` blocks can have, in execution order.
    /// A family of models lacks some of them.
    pub fn all(n_layer: usize) -> impl Iterator<Item = Self> {
        let blocks =
            (0..n_layer).flat_map(|layer| BLOCK_POINTS.iter().map(move |(point, ..)| point(layer)));
        [Self::Embed, Self::PosEmbed].into_iter().chain(blocks).chain([Self::FinalNormalized])
    }

    /// The index of the point's block; `None` for embeddings and the final norm.
    pub fn layer(self) -> Option<usize> {
        match self {
            Self::Embed | Self::PosEmbed | Self::FinalNormalized => None,
            Self::ResidPre(layer)
            | Self::Ln1Normalized(layer)
            | Self::AttnIn(layer)
            | Self::Q(layer)
            | Self::K(layer)
            | Self::V(layer)
            | Self::RotQ(layer)
            | Self::RotK(layer)
            | Self::AttnScores(layer)
            | Self::Pattern(layer)
            | Self::Z(layer)
            | Self::AttnProjection(layer)
            | Self::AttnOut(layer)
            | Self::ResidMid(layer)
            | Self::Ln2Normalized(layer)
            | Self::MlpIn(layer)
            | Self::MlpPre(layer)
            | Self::MlpPreLinear(layer)
            | Self::MlpPost(layer)
            | Self::MlpProjection(layer)
            | Self::MlpOut(layer)
            | Self::ResidPost(layer) => Some(layer),
        }
    }

    /// Returns whether the activation is the residual stream, or is added to it as it is.
    pub fn is_in_stream(self) -> bool {
        matches!(
            self,
            Self::Embed
                | Self::PosEmbed
                | Self::ResidPre(_)
                | Self::AttnProjection(_)
                | Self::AttnOut(_)
                | Self::ResidMid(_)
                | Self::MlpProjection(_)
                | Self::MlpOut(_)
                | Self::ResidPost(_)
        )
    }

    /// The other names of this point that [`FromStr`] accepts.
    pub fn aliases(self) -> Vec<String> {
        match (self.layer(), self.in_block()) {
            (Some(layer), Some((_, _, aliases))) => {
                aliases.iter().map(|alias| format!("blocks.{layer}.{alias}")).collect()
            }
            _ if self == Self::Embed => vec![EMBED_ALIAS.to_owned()],
            _ if self == Self::PosEmbed => vec![POS_EMBED_ALIAS.to_owned()],
            _ => Vec::new(),
        }
    }

    fn in_block(self) -> Option<&'static BlockPoint> {
        let layer = self.layer()?;
        BLOCK_POINTS.iter().find(|(point, ..)| point(layer) == self)
    }

    /// A sort key: before all blocks, in a block, or after all. It is compared at every hook point of
    /// every pass, hence a jump rather than a search of [`BLOCK_POINTS`].
    fn order(self) -> (u8, usize, u8) {
        match self {
            Self::Embed => (0, 0, 0),
            Self::PosEmbed => (0, 0, 1),
            Self::ResidPre(layer) => (1, layer, 0),
            Self::Ln1Normalized(layer) => (1, layer, 1),
            Self::AttnIn(layer) => (1, layer, 2),
            Self::Q(layer) => (1, layer, 3),
            Self::K(layer) => (1, layer, 4),
            Self::V(layer) => (1, layer, 5),
            Self::RotQ(layer) => (1, layer, 6),
            Self::RotK(layer) => (1, layer, 7),
            Self::AttnScores(layer) => (1, layer, 8),
            Self::Pattern(layer) => (1, layer, 9),
            Self::Z(layer) => (1, layer, 10),
            Self::AttnProjection(layer) => (1, layer, 11),
            Self::AttnOut(layer) => (1, layer, 12),
            Self::ResidMid(layer) => (1, layer, 13),
            Self::Ln2Normalized(layer) => (1, layer, 14),
            Self::MlpIn(layer) => (1, layer, 15),
            Self::MlpPre(layer) => (1, layer, 16),
            Self::MlpPreLinear(layer) => (1, layer, 17),
            Self::MlpPost(layer) => (1, layer, 18),
            Self::MlpProjection(layer) => (1, layer, 19),
            Self::MlpOut(layer) => (1, layer, 20),
            Self::ResidPost(layer) => (1, layer, 21),
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
            _ if *self == Self::PosEmbed => f.write_str(POS_EMBED),
            _ => f.write_str(FINAL_NORMALIZED),
        }
    }
}

impl FromStr for HookPoint {
    type Err = HookError;

    fn from_str(name: &str) -> Result<Self, HookError> {
        match name {
            EMBED | EMBED_ALIAS => return Ok(Self::Embed),
            POS_EMBED | POS_EMBED_ALIAS => return Ok(Self::PosEmbed),
            FINAL_NORMALIZED => return Ok(Self::FinalNormalized),
            _ => {}
        }
        let unknown = || HookError::Unknown { name: name.to_owned(), nearest: nearest(name) };
        let (layer, rest) = split_block(name).ok_or_else(unknown)?;
        BLOCK_POINTS
            .iter()
            .find(|(_, canonical, aliases)| *canonical == rest || aliases.contains(&rest))
            .map(|(point, ..)| point(layer))
            .ok_or_else(unknown)
    }
}

/// Splits `blocks.{i}.rest`. The index has to be written as Rust prints it: `blocks.01.` and
/// `blocks.-1.` are not names.
fn split_block(name: &str) -> Option<(usize, &str)> {
    let (layer, rest) = name.strip_prefix("blocks.")?.split_once('.')?;
    let index: usize = layer.parse().ok()?;
    (index.to_string() == layer).then_some((index, rest))
}

/// The valid name most similar to `name`, if one is similar enough.
fn nearest(name: &str) -> Option<String> {
    // A name with a block's index is compared with that block's names, anything else with block 0's.
    let layer = name
        .split('.')
        .nth(1)
        .map(|digits| digits.trim_start_matches('-'))
        .and_then(|digits| digits.parse().ok())
        .unwrap_or(0);
    let block = BLOCK_POINTS.iter().flat_map(|(_, canonical, aliases)| {
        std::iter::once(canonical).chain(aliases.iter()).map(move |n| format!("blocks.{layer}.{n}"))
    });
    most_similar(name, block.chain([EMBED, POS_EMBED, FINAL_NORMALIZED].map(str::to_owned)))
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
