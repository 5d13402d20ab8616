//! The names, orientation and packing of a family's weights.

use std::ops::Range;

use burn::tensor::TensorData;
use nanoscope_transformer::{Layout, ParamSpec};

use crate::container::TensorSource;

/// The naming of a family's weights.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    /// Prefix of every weight of the text model, with its dot; empty in GPT-2's published files.
    pub(super) root: String,
    /// Canonical names outside blocks, and theirs after the root.
    pub(super) outside: &'static [(&'static str, &'static str)],
    /// The blocks' list after the root: `layers` or `h`.
    pub(super) blocks: &'static str,
    /// Canonical names of a block's weights without `.weight` and `.bias`, and theirs.
    pub(super) parts: &'static [(&'static str, &'static str)],
    /// The packing of queries, keys and values.
    pub(super) packing: Packing,
    /// True if matrices are `[d_in, d_out]`, as in GPT-2.
    pub(super) transposed: bool,
    /// True if a norm multiplies by one plus its weight, as in Gemma.
    pub(super) one_plus: bool,
    /// True if the unembedding is the embedding.
    pub(super) tied: bool,
    /// Ends of the names of tensors that are not weights; with a dot at the end, starts of the names of
    /// other parts of the model.
    pub(super) ignored: &'static [&'static str],
}

/// The packing of queries, keys and values in one tensor.
#[derive(Debug, Clone, Copy)]
pub(super) enum Packing {
    /// Each has a tensor of its own.
    Separate,
    /// Side by side in the last dimension.
    SideBySide,
    /// Head by head in the first dimension: the head's queries, its keys, its values.
    PerHead {
        /// Number of heads.
        heads: usize,
    },
}

/// A weight in a file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Stored {
    /// The tensor's name.
    pub(crate) name: String,
    /// The tensor's shape.
    pub(crate) shape: Vec<usize>,
    /// The part of it that is the weight.
    pub(crate) part: Part,
    /// True if the part is transposed in the file.
    pub(crate) transposed: bool,
    /// A number to add to every value.
    pub(crate) plus: f32,
}

/// A part of a tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    /// All of it.
    Whole,
    /// Some channels of the last dimension.
    Last(Range<usize>),
    /// Of each of the heads into which the first dimension is divided, these channels.
    OfHeads {
        /// Number of heads.
        heads: usize,
        /// The channels within a head.
        channels: Range<usize>,
    },
}

const LM_HEAD: &str = "lm_head.weight";
const EMBEDDING: &str = "transformer.wte.weight";

impl Names {
    /// Settles the root by the names in the file: published files have other ones than transformers
    /// writes. If `tied`, an unembedding in the file is ignored.
    pub(crate) fn find_root(&mut self, source: &TensorSource, tied: bool) {
        let embedding = self.outside.iter().find(|(ours, _)| *ours == EMBEDDING);
        let embedding = embedding.map_or("", |(_, theirs)| theirs);
        let roots = [self.root.as_str(), "", "language_model.model.", "model.language_model."];
        let has = |root: &&str| source.info(&format!("{root}{embedding}")).is_some();
        let root = roots.into_iter().find(has).map(str::to_owned);
        self.root = root.unwrap_or_else(|| self.root.clone());
        self.tied = tied;
    }

    /// The names of the embedding and of an unembedding that the file has though it is the embedding.
    pub(crate) fn tied_pair(&self, source: &TensorSource) -> Option<(String, String)> {
        let (_, theirs) = self.outside.iter().find(|(ours, _)| *ours == LM_HEAD)?;
        let mut names = source.tensors().map(|(name, _)| name);
        let unembedding = names.find(|name| self.tied && name.ends_with(theirs))?;
        let (embedding, _) = self.name(EMBEDDING);
        source.info(&embedding).map(|_| (embedding, unembedding.to_owned()))
    }

    /// The tensor that has the weight `spec`.
    pub(crate) fn stored(&self, spec: &ParamSpec) -> Stored {
        let is_matrix = spec.layout == Layout::Transposed;
        let transposed = is_matrix && (!self.transposed || spec.name == LM_HEAD);
        let shape = if transposed { spec.file_shape() } else { spec.shape.clone() };
        let is_norm = spec.name.ends_with("norm.weight") || spec.name.contains("ln_");
        let plus = if self.one_plus && is_norm { 1.0 } else { 0.0 };
        let (name, packed) = self.name(&spec.name);
        let mut stored = Stored { name, shape, part: Part::Whole, transposed, plus };
        if let Some(index) = packed {
            self.pack(&mut stored, index);
        }
        stored
    }

    /// Returns whether the file may have the tensor `name`, which is not a weight.
    pub(crate) fn is_ignored(&self, name: &str) -> bool {
        let within = |part: &str| {
            if part.ends_with('.') { name.starts_with(part) } else { name.ends_with(part) }
        };
        let unembedding = self.outside.iter().find(|(ours, _)| *ours == LM_HEAD);
        let is_tied = self.tied && unembedding.is_some_and(|(_, theirs)| name.ends_with(theirs));
        is_tied || self.ignored.iter().any(|part| within(part))
    }

    /// The name of the tensor that has the weight with this canonical name, and the weight's index in
    /// it if it is packed.
    fn name(&self, canonical: &str) -> (String, Option<usize>) {
        let Self { root, blocks, .. } = self;
        if let Some((_, theirs)) = self.outside.iter().find(|(ours, _)| *ours == canonical) {
            let is_root = canonical == LM_HEAD;
            return (if is_root { (*theirs).to_owned() } else { format!("{root}{theirs}") }, None);
        }
        let in_block = canonical.strip_prefix("transformer.h.").unwrap_or(canonical);
        let (layer, rest) = in_block.split_once('.').unwrap_or((in_block, ""));
        let (part, kind) = rest.rsplit_once('.').unwrap_or((rest, ""));
        let packed = match (self.packing, part) {
            (Packing::Separate, _) => None,
            (_, "attn.c_q") => Some(0),
            (_, "attn.c_k") => Some(1),
            (_, "attn.c_v") => Some(2),
            _ => None,
        };
        let theirs = self.parts.iter().find(|(ours, _)| *ours == part);
        let theirs = theirs.map_or(part, |(_, theirs)| theirs);
        (format!("{root}{blocks}.{layer}.{theirs}.{kind}"), packed)
    }

    fn pack(&self, stored: &mut Stored, index: usize) {
        match self.packing {
            Packing::Separate => {}
            Packing::SideBySide => {
                let last = stored.shape.last_mut().expect("a weight has dimensions");
                stored.part = Part::Last(index * *last..(index + 1) * *last);
                *last *= 3;
            }
            Packing::PerHead { heads } => {
                let head_dim = stored.shape[0] / heads;
                let channels = index * head_dim..(index + 1) * head_dim;
                stored.part = Part::OfHeads { heads, channels };
                stored.shape[0] *= 3;
            }
        }
    }
}

impl Part {
    /// Takes the part out of a whole tensor.
    ///
    /// # Shapes
    /// - `whole`: as [`Stored::shape`]
    /// - output: the shape of the part
    pub(crate) fn take(&self, whole: TensorData) -> TensorData {
        let shape = whole.shape().to_vec();
        let row = shape.last().copied().unwrap_or(1);
        match self {
            Self::Whole => whole,
            Self::Last(range) => {
                let values = whole.iter::<f32>().collect::<Vec<_>>();
                let values: Vec<f32> =
                    values.chunks(row).flat_map(|row| &row[range.clone()]).copied().collect();
                let mut part = shape;
                *part.last_mut().expect("a tensor has dimensions") = range.len();
                TensorData::new(values, part)
            }
            Self::OfHeads { heads, channels } => {
                let below: usize = shape[1..].iter().product();
                let per_head = shape[0] / heads * below;
                let range = channels.start * below..channels.end * below;
                let values = whole.iter::<f32>().collect::<Vec<_>>();
                let values: Vec<f32> = values
                    .chunks(per_head)
                    .flat_map(|head| &head[range.clone()])
                    .copied()
                    .collect();
                let mut part = shape;
                part[0] = heads * channels.len();
                TensorData::new(values, part)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(data: &TensorData) -> Vec<f32> {
        data.iter::<f32>().collect()
    }

    #[test]
    fn queries_keys_and_values_are_taken_out_of_one_tensor() {
        let side_by_side = TensorData::new((0..12).map(|n| n as f32).collect::<Vec<_>>(), [2, 6]);
        let keys = Part::Last(2..4).take(side_by_side);
        assert_eq!((keys.shape().to_vec(), numbers(&keys)), (vec![2, 2], vec![2., 3., 8., 9.]));

        // Two heads of one channel: q0 k0 v0 q1 k1 v1.
        let per_head = TensorData::new((0..12).map(|n| n as f32).collect::<Vec<_>>(), [6, 2]);
        let keys = Part::OfHeads { heads: 2, channels: 1..2 }.take(per_head);
        assert_eq!((keys.shape().to_vec(), numbers(&keys)), (vec![2, 2], vec![2., 3., 8., 9.]));
    }
}
