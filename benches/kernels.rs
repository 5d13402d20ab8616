//! The kernels of `crates/kernels` against the same work composed of burn's operations.
//!
//! `cargo bench --bench kernels`, on one thread `RAYON_NUM_THREADS=1 cargo bench --bench kernels`
//!
//! Both sides of each line are timed in turn, so that they run under the same conditions. Prints how many times
//! faster the kernel is, by the shortest time of each side.

use std::hint::black_box;
use std::time::{Duration, Instant};

use burn::tensor::activation::softmax;
use burn::tensor::{DType, Device, Distribution, Tensor};
use nanoscope_kernels::{
    Matrix, Order, SparseRows, attention_pattern, multiply, multiply_sparse, rms_norm, rotate,
    softcap,
};

/// The time that each line may take.
const BUDGET: Duration = Duration::from_millis(300);

fn main() {
    let device = nanoscope_device::by_name("flex").expect("flex is a default feature");
    println!("{} threads; times faster than burn's operations\n", rayon::current_num_threads());
    products(&device);
    let random =
        |shape: [usize; 4]| Tensor::<4>::random(shape, Distribution::Normal(0.0, 3.0), &device);

    fewer_bits(&device);

    println!("\nattention, 6 heads");
    for [batch, seq, keys] in [[1, 1, 256], [1, 64, 1024], [8, 255, 255]] {
        let scores = random([batch, 6, seq, keys]);
        let bias = Tensor::<4>::zeros([1, 1, seq, keys], &device);
        let first = keys - seq;
        line(
            &format!("softmax [{batch}, 6, {seq}, {keys}]"),
            || attention_pattern(fresh(&scores), None, &|query| 0..first + query + 1).ok(),
            || softmax(fresh(&scores) + bias.clone(), 3),
        );
    }
    println!("\nother operations");
    for rows in [1, 2040] {
        let logits = random([1, 1, rows, 4096]);
        line(
            &format!("softcap [{rows}, 4096]"),
            || softcap(fresh(&logits), 15.0),
            || (fresh(&logits) / 15.0).tanh() * 15.0,
        );
        let x = random([1, 1, rows, 768]);
        line(
            &format!("RMS norm [{rows}, 768]"),
            || rms_norm(x.clone(), 1e-5),
            || x.clone() / (x.clone().square().mean_dim(3) + 1e-5).sqrt(),
        );
        let heads = random([1, rows, 6, 128]);
        let [cos, sin] = [0, 1].map(|_| random([1, rows, 1, 64]));
        line(
            &format!("rotary embedding [{rows}, 6, 128]"),
            || rotate(fresh(&heads), &cos, &sin),
            || {
                let (x1, x2) =
                    (heads.clone().slice_dim(3, 0..64), heads.clone().slice_dim(3, 64..128));
                let y1 = x1.clone() * cos.clone() + x2.clone() * sin.clone();
                Tensor::cat(vec![y1, x2 * cos.clone() - x1 * sin.clone()], 3)
            },
        );
    }
    sparse(&device);
}

/// Products of few and of many rows.
fn products(device: &Device) {
    let shapes = [[256, 256], [256, 1024], [768, 768], [768, 3072], [3072, 768], [768, 32_768]];
    for dtype in [DType::F32, DType::BF16] {
        println!("x · W, {dtype:?}");
        for [d_in, d_out] in shapes {
            let w = Tensor::<2>::random([d_in, d_out], Distribution::Default, device).cast(dtype);
            let turned = Tensor::<2>::random([d_out, d_in], Distribution::Default, device);
            let turned = turned.cast(dtype).transpose();
            for rows in [1, 2, 4, 8, 16, 32, 64, 255] {
                let x = Tensor::<2>::random([rows, d_in], Distribution::Default, device);
                for (order, w) in [("", &w), (" as PyTorch stores it", &turned)] {
                    line(
                        &format!("{rows} rows, [{d_in}, {d_out}]{order}"),
                        || multiply(x.clone(), w),
                        || x.clone().matmul(w.clone().cast(DType::F32)),
                    );
                }
            }
        }
    }
}

/// Products of few rows with matrices of fewer bits, against float32 in the same order.
fn fewer_bits(device: &Device) {
    println!("\nx · W with fewer bits, times faster than float32");
    for [d_in, d_out] in [[768, 768], [768, 3072], [3072, 768], [768, 32_768]] {
        let w = Tensor::<2>::random([d_out, d_in], Distribution::Default, device);
        let float = w.clone().transpose();
        let half = w.clone().cast(DType::BF16).transpose();
        let int8 = Matrix::Device(float.clone()).quantized(Order::ByOutput);
        for rows in [1, 8] {
            let x = Tensor::<2>::random([rows, d_in], Distribution::Default, device);
            let full = || multiply(x.clone(), &float);
            line(
                &format!("bf16, {rows} rows, [{d_in}, {d_out}]"),
                || multiply(x.clone(), &half),
                full,
            );
            line(
                &format!("int8, {rows} rows, [{d_in}, {d_out}]"),
                || int8.multiply(x.clone()),
                full,
            );
        }
    }
}

/// Decoding of sparse rows, of equal lengths and with a long one among them.
fn sparse(device: &Device) {
    let [d_sae, d_out] = [24_576, 768];
    let w = Tensor::<2>::random([d_sae, d_out], Distribution::Default, device);
    for long in [32, 8000] {
        let lengths: Vec<usize> = (0..64).map(|row| if row == 0 { long } else { 32 }).collect();
        let indices: Vec<u32> =
            lengths.iter().flat_map(|&len| (0..len).map(|at| (at * 3) as u32)).collect();
        let values = vec![0.5; indices.len()];
        let mut indptr = vec![0];
        for len in &lengths {
            indptr.push(indptr[indptr.len() - 1] + len);
        }
        let gather = Tensor::<1, burn::tensor::Int>::from_ints(
            indices.iter().map(|&index| index as i32).collect::<Vec<_>>().as_slice(),
            device,
        );
        line(
            &format!(
                "sparse decoding of 64 rows, the longest {long}, against reading its rows once"
            ),
            || {
                let rows = SparseRows { indptr: &indptr, indices: &indices, values: &values };
                multiply_sparse(rows, &w)
            },
            || w.clone().select(0, gather.clone()),
        );
    }
}

/// A copy that nobody else uses, as an activation in a pass.
fn fresh(x: &Tensor<4>) -> Tensor<4> {
    x.clone().mul_scalar(1.0)
}

fn line<A, B>(name: &str, mut ours: impl FnMut() -> A, mut theirs: impl FnMut() -> B) {
    let mut shortest = [Duration::MAX; 2];
    let begun = Instant::now();
    while begun.elapsed() < BUDGET {
        for _ in 0..3 {
            let start = Instant::now();
            black_box(ours());
            shortest[0] = shortest[0].min(start.elapsed());
            let start = Instant::now();
            black_box(theirs());
            shortest[1] = shortest[1].min(start.elapsed());
        }
    }
    let [ours, theirs] = shortest.map(|time| time.as_secs_f64());
    println!("{name:<60} {:>6.2}   ({:.1} µs)", theirs / ours, ours * 1e6);
}
