//! Loss and gradients of ReLU, JumpReLU and gated SAEs by burn's automatic differentiation, on any
//! backend.

use burn::tensor::{Tensor, activation};
use nanoscope_kernels::to_host;

use crate::parameters::{Parameters, Weight, upload};
use crate::pass::losses::{Dense, Losses, Pass};

/// The terms of a loss, as tensors in the autodiff graph.
struct Graph {
    /// `[rows, d_sae]`
    features: Tensor<2>,
    /// `[rows, d_in]`
    reconstruction: Tensor<2>,
    sparsity: Tensor<1>,
    aux: Option<Tensor<1>>,
}

/// Computes the loss of the activations `x` and its gradients.
///
/// # Shapes
/// - `x`: `[rows, d_in]` row-major
pub(super) fn autodiff(loss: Dense, parameters: &Parameters, x: &[f32]) -> Pass {
    let [_, d_in] = parameters.get(Weight::DecoderBias).dims();
    let rows = x.len() / d_in;
    let device = parameters.get(Weight::Encoder).device();
    let x = Tensor::from_inner(upload(x.to_vec(), [rows, d_in], &device));
    let tracked = parameters.clone().map(|_, tensor| Tensor::from_inner(tensor).require_grad());

    let graph = match loss {
        Dense::Relu { l1 } => relu(&tracked, x.clone(), l1),
        Dense::JumpRelu { weight, target_l0, bandwidth } => {
            jump_relu(&tracked, x.clone(), weight, target_l0, bandwidth)
        }
        Dense::Gated { l1 } => gated(&tracked, x.clone(), l1),
    };
    let errors = (graph.reconstruction - x).square().sum_dim(1);
    let mse = errors.clone().mean();
    let mut total = mse.clone() + graph.sparsity.clone();
    if let Some(aux) = &graph.aux {
        total = total + aux.clone();
    }

    let mut gradients = total.backward();
    let number = |x: Tensor<1>| f64::from(x.into_scalar::<f32>());
    Pass {
        losses: Losses {
            total: number(total),
            mse: number(mse),
            sparsity: number(graph.sparsity),
            aux: graph.aux.map_or(0.0, number),
        },
        fired: fired(graph.features.inner()),
        smallest: None,
        errors: to_host(errors.inner()),
        gradients: Parameters::new(tracked.iter().map(|(part, weight)| {
            let gradient = weight.grad_remove(&mut gradients);
            // A weight that this batch does not affect, such as a threshold far from every
            // pre-activation.
            (part, gradient.unwrap_or_else(|| weight.clone().inner().zeros_like()))
        })),
    }
}

fn relu(parameters: &Parameters, x: Tensor<2>, l1: f64) -> Graph {
    let b_dec = parameters.get(Weight::DecoderBias);
    let decoder = parameters.get(Weight::Decoder);
    let features = activation::relu(pre_activations(parameters, x - b_dec.clone()));
    let norms = decoder.clone().square().sum_dim(1).sqrt().transpose(); // [1, d_sae]
    let sparsity = (features.clone() * norms).sum_dim(1).mean() * l1;
    Graph {
        reconstruction: features.clone().matmul(decoder) + b_dec,
        features,
        sparsity,
        aux: None,
    }
}

fn jump_relu(
    parameters: &Parameters,
    x: Tensor<2>,
    weight: f64,
    target_l0: f64,
    bandwidth: f64,
) -> Graph {
    let threshold = parameters.get(Weight::LogThreshold).exp();
    let pre = pre_activations(parameters, x);
    let open = pre.clone().greater(threshold.clone().expand(pre.dims())).float().detach();
    // The straight-through estimate: near the threshold, the derivative of the jump with respect to
    // the threshold is taken to be a rectangle of this width (Rajamanoharan et al. 2024, section
    // 3). The term that carries it has the value 0.
    let near = (pre.clone() - threshold.clone()).abs().lower_equal_scalar(bandwidth / 2.0);
    let near = near.float().detach();
    let carrier = threshold.clone() - threshold.clone().detach();
    let by_value = near.clone() * threshold.detach().div_scalar(-bandwidth);
    let features = activation::relu(pre) * open.clone() + by_value * carrier.clone();
    let count = open + near.div_scalar(-bandwidth) * carrier;
    let l0 = count.sum_dim(1).mean();
    Graph {
        reconstruction: features.clone().matmul(parameters.get(Weight::Decoder))
            + parameters.get(Weight::DecoderBias),
        features,
        sparsity: l0.div_scalar(target_l0).sub_scalar(1.0).square() * weight,
        aux: None,
    }
}

fn gated(parameters: &Parameters, x: Tensor<2>, l1: f64) -> Graph {
    let b_dec = parameters.get(Weight::DecoderBias);
    let decoder = parameters.get(Weight::Decoder);
    let gate = pre_activations(parameters, x.clone() - b_dec.clone());
    let open = gate.clone().greater_scalar(0.0).float().detach();
    let product = gate.clone() - parameters.get(Weight::EncoderBias);
    let magnitude =
        product * parameters.get(Weight::Magnitude).exp() + parameters.get(Weight::MagnitudeBias);
    let features = activation::relu(magnitude) * open;
    let gate = activation::relu(gate);
    let norms = decoder.clone().square().sum_dim(1).sqrt().transpose(); // [1, d_sae]
    let sparsity = (gate.clone() * norms.detach()).sum_dim(1).mean() * l1;
    // Without this term the gate would learn from the sparsity loss alone, because the jump has no
    // gradient.
    let by_gate = gate.matmul(decoder.clone().detach()) + b_dec.clone().detach();
    Graph {
        reconstruction: features.clone().matmul(decoder) + b_dec,
        features,
        sparsity,
        aux: Some((by_gate - x).square().sum_dim(1).mean()),
    }
}

/// `x · W_enc + b_enc`, `[rows, d_sae]`.
fn pre_activations(parameters: &Parameters, x: Tensor<2>) -> Tensor<2> {
    x.matmul(parameters.get(Weight::Encoder).transpose()) + parameters.get(Weight::EncoderBias)
}

/// Counts the rows in which each feature is active.
///
/// # Shapes
/// - `features`: `[rows, d_sae]`
fn fired(features: Tensor<2>) -> Vec<u32> {
    let counts = features.greater_scalar(0.0).float().sum_dim(0);
    to_host(counts).into_iter().map(|count| count as u32).collect()
}
