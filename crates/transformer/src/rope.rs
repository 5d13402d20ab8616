//! Rotary position embeddings.
//!
//! Eras with bf16 tables lose 5e-3 in the logits if one table entry rounds the other way, so the
//! tables are rounded exactly where PyTorch rounds them.

use burn::tensor::{Device, Tensor, TensorData};
use half::bf16;

use crate::config::{RopeConfig, RopeScaling, RopeTables};

/// Rotary position embedding with its tables.
///
/// The two halves of a head's channels form the pairs (the `NeoX` layout), which are rotated by `-θ`:
/// `y1 = x1·cos + x2·sin`, `y2 = -x1·sin + x2·cos`. To rotate by `θ`, the frequencies are negative.
#[derive(Debug, Clone)]
pub(crate) struct Rope {
    frequencies: Vec<f32>,
    tables: RopeTables,
    /// Rows for the first positions, computed in advance.
    precomputed: Rows,
}

/// Cosines and sines for some positions.
#[derive(Debug, Clone)]
pub(crate) struct Rows {
    cos: Tensor<4>, // [1 or batch, seq, 1, channels / 2]
    sin: Tensor<4>,
}

/// The largest number of rows computed in advance; others are computed when a pass needs them.
const MAX_PRECOMPUTED: usize = 4096;

impl Rope {
    /// Creates the embedding, with tables for the positions of a context of `sequence_len` tokens.
    pub(crate) fn new(config: &RopeConfig, sequence_len: usize, device: &Device) -> Self {
        let mut frequencies = scaled(frequencies(config.channels, config.base), config.scaling);
        if !config.negative {
            for frequency in &mut frequencies {
                *frequency = -*frequency;
            }
        }
        let seq = sequence_len.min(MAX_PRECOMPUTED);
        let tables = config.tables;
        Self { precomputed: compute(&frequencies, tables, 0, seq, device), frequencies, tables }
    }

    /// The rows for positions `from..from + seq`.
    pub(crate) fn rows(&self, from: usize, seq: usize) -> Rows {
        let Rows { cos, sin } = &self.precomputed;
        let [_, precomputed, _, _] = cos.dims();
        if from + seq <= precomputed {
            Rows {
                cos: cos.clone().slice_dim(1, from..from + seq),
                sin: sin.clone().slice_dim(1, from..from + seq),
            }
        } else {
            compute(&self.frequencies, self.tables, from, seq, &cos.device())
        }
    }
}

impl Rows {
    /// Joins the rows of sequences at different positions: each is repeated for as many rows of the
    /// batch as its count says.
    pub(crate) fn cat(sequences: Vec<(Self, usize)>) -> Self {
        let cat = |table: fn(&Self) -> &Tensor<4>| {
            let repeated =
                sequences.iter().map(|(rows, count)| table(rows).clone().repeat_dim(0, *count));
            Tensor::cat(repeated.collect(), 0)
        };
        Self { cos: cat(|rows| &rows.cos), sin: cat(|rows| &rows.sin) }
    }

    /// Rotates the first channels of queries or keys, as many as the tables have.
    ///
    /// # Shapes
    /// - `x`: `[batch, seq, heads, head_dim]`; the output has the same shape
    pub(crate) fn rotate(&self, x: Tensor<4>) -> Tensor<4> {
        nanoscope_kernels::rotate(x, &self.cos, &self.sin)
    }
}

/// The inverse frequencies, rounded where `PyTorch` rounds them.
///
/// In the eras with bf16 tables, one unit in the last place of a float32 frequency can change a table
/// entry and move logits by 1e-3. Each step is therefore rounded as in the reference: the exponent is
/// divided in float32, the power computed in float64 and rounded, its reciprocal taken in float32.
fn frequencies(channels: usize, base: f64) -> Vec<f32> {
    (0..channels / 2)
        .map(|pair| {
            let exponent = (2 * pair) as f32 / channels as f32;
            1.0 / (base.powf(f64::from(exponent)) as f32)
        })
        .collect()
}

/// The frequencies changed for longer contexts.
fn scaled(mut frequencies: Vec<f32>, scaling: RopeScaling) -> Vec<f32> {
    for frequency in &mut frequencies {
        *frequency = match scaling {
            RopeScaling::None => *frequency,
            RopeScaling::Linear { factor } => *frequency / factor as f32,
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } => {
                let unscaled = f64::from(*frequency);
                let turns = original_context * unscaled / std::f64::consts::TAU;
                let high = (turns - low_freq_factor) / (high_freq_factor - low_freq_factor);
                let high = high.clamp(0.0, 1.0);
                ((1.0 - high) * unscaled / factor + high * unscaled) as f32
            }
        };
    }
    frequencies
}

fn compute(
    frequencies: &[f32],
    tables: RopeTables,
    from: usize,
    seq: usize,
    device: &Device,
) -> Rows {
    let table = |function: fn(f64) -> f64| {
        let values: Vec<f32> = (from..from + seq)
            .flat_map(|position| frequencies.iter().map(move |f| position as f32 * f))
            .map(|angle| {
                let value = function(f64::from(angle)) as f32;
                match tables {
                    RopeTables::Bf16 => bf16::from_f32(value).to_f32(),
                    RopeTables::F32 => value,
                }
            })
            .collect();
        Tensor::from_data(TensorData::new(values, [1, seq, 1, frequencies.len()]), device)
    };
    Rows { cos: table(f64::cos), sin: table(f64::sin) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_of_channels_is_rotated_by_minus_theta() {
        let device = nanoscope_testing::test_device();
        let frequencies = frequencies(2, 10_000.0);
        let rows = compute(&frequencies, RopeTables::F32, 0, 2, &device);
        let x = Tensor::<4>::from_floats([[[[1.0, 0.0]], [[1.0, 0.0]]]], &device);

        let out = rows.rotate(x).into_data().try_to_vec::<f32>().unwrap();

        let expected = [1.0, 0.0, 1.0_f32.cos(), -(1.0_f32.sin())];
        for (found, expected) in out.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6, "{out:?}");
        }
    }

    #[test]
    fn rows_kept_and_rows_computed_are_the_same() {
        let device = nanoscope_testing::test_device();
        let frequencies = frequencies(16, 100_000.0);
        let kept = compute(&frequencies, RopeTables::Bf16, 0, 8, &device);
        let computed = compute(&frequencies, RopeTables::Bf16, 5, 2, &device);

        assert_eq!(kept.cos.slice_dim(1, 5..7).into_data(), computed.cos.into_data());
    }
}
