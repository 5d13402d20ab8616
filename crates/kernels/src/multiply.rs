use burn::tensor::{DType, Tensor, TensorData};

use crate::flex::{self, AnyMatrix};
use crate::host::to_host;
use crate::matrix_view::{FEW_ROWS, Order};

/// The largest number of rows that are multiplied with float32 by a kernel of this crate. Beyond this border and
/// those below, burn's product is as fast or faster (`cargo bench --bench kernels`).
const MAX_ROWS: usize = 64;

/// The number of float32 from which a matrix by input is multiplied with two rows. A single row always is.
const MIN_BY_TWO: usize = 1 << 18;

/// The number of float32 from which a matrix by input is multiplied with more than [`FEW_ROWS`]: 16 MB, which no
/// cache of one thread holds.
const LARGE: usize = 1 << 22;

/// The number of float32 from which a single row is multiplied by a matrix by output.
const MIN_BY_OUTPUT: usize = 1 << 19;

/// The number of values of a 16-bit matrix that are converted to float32 at once.
const CAST_CHUNK: usize = 1 << 22;

/// Computes `x · w` in float32, whatever the type of the matrix's numbers.
///
/// # Shapes
/// - `x`: `[rows, d_in]`, float32
/// - `w`: `[d_in, d_out]`
/// - output: `[rows, d_out]`, float32
pub fn multiply(x: Tensor<2>, w: &Tensor<2>) -> Tensor<2> {
    let [rows, d_in] = x.dims();
    let [_, d_out] = w.dims();
    let is_f32 = w.dtype() == DType::F32;
    if flex::is_plain(&x) {
        let product = flex::view(w, |w| {
            if !is_worth_it(&w, rows) {
                return None;
            }
            let product = |x: &[f32]| match w {
                AnyMatrix::F32(w) => w.multiply(x),
                AnyMatrix::BF16(w) => w.multiply(x),
                AnyMatrix::F16(w) => w.multiply(x),
            };
            Some(flex::numbers(&x, product).unwrap_or_else(|| product(&to_host(x.clone()))))
        });
        if let Some(product) = product.flatten() {
            return Tensor::from_data(TensorData::new(product, [rows, d_out]), &x.device());
        }
    }
    if is_f32 {
        return x.matmul(w.clone());
    }
    let chunk = (CAST_CHUNK / d_in).max(1);
    let part = |from: usize| {
        let columns = w.clone().slice_dim(1, from..(from + chunk).min(d_out));
        x.clone().matmul(columns.cast(DType::F32))
    };
    Tensor::cat((0..d_out).step_by(chunk).map(part).collect(), 1)
}

/// Returns whether the kernel is faster than burn's product, which converts 16-bit numbers at each call.
fn is_worth_it(w: &AnyMatrix<'_>, rows: usize) -> bool {
    let AnyMatrix::F32(w) = w else {
        return true;
    };
    let [d_in, d_out] = w.dims();
    let numbers = d_in * d_out;
    match (w.order, rows) {
        (Order::ByInput, 1) => true,
        (Order::ByInput, 2) => numbers >= MIN_BY_TWO,
        (Order::ByInput, _) => rows > FEW_ROWS && rows <= MAX_ROWS && numbers >= LARGE,
        (Order::ByOutput, 1) => numbers >= MIN_BY_OUTPUT,
        (Order::ByOutput, _) => rows <= MAX_ROWS,
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::TensorData;
    use nanoscope_testing::test_device;

    use super::*;

    #[test]
    fn products_are_those_of_burn_in_every_type_layout_and_number_of_rows() {
        let device = test_device();
        // Large enough for a kernel, with numbers whose sums are exact.
        let (d_in, d_out) = (1024, 4100);
        let numbers = |n: usize, step: usize| -> Vec<f32> {
            (0..n).map(|at| (at * step % 13) as f32 - 6.0).collect()
        };
        let w = TensorData::new(numbers(d_in * d_out, 7), [d_in, d_out]);
        let w = Tensor::<2>::from_data(w, &device);
        let wide = Tensor::cat(vec![w.clone(), w.clone()], 1);
        let turned = w.clone().transpose().mul_scalar(1.0).reshape([d_out, d_in]).transpose();
        for rows in [1, 2, 8, 9, 64, 70] {
            let x = TensorData::new(numbers(rows * d_in, 5), [rows, d_in]);
            let x = Tensor::<2>::from_data(x, &device);
            let expected = x.clone().matmul(w.clone()).into_data();
            for dtype in [DType::F32, DType::BF16, DType::F16] {
                if !device.supports_dtype(dtype) {
                    continue;
                }
                for w in [w.clone(), turned.clone(), wide.clone().slice_dim(1, d_out..2 * d_out)] {
                    assert_eq!(multiply(x.clone(), &w.cast(dtype)).into_data(), expected, "{rows}");
                }
                let slice = wide.clone().cast(dtype).slice_dim(1, d_out..2 * d_out);
                assert_eq!(multiply(x.clone(), &slice).into_data(), expected, "{rows} {dtype:?}");
                let turned = turned.clone().transpose().cast(dtype).transpose();
                assert_eq!(multiply(x.clone(), &turned).into_data(), expected, "{rows} {dtype:?}");
            }
        }
    }

    #[test]
    fn a_gradient_passes_through_a_product() {
        let device = test_device().autodiff();
        let x = Tensor::<2>::ones([1, 512], &device).require_grad();
        let w = Tensor::<2>::full([512, 520], 2.0, &device);

        let gradients = multiply(x.clone(), &w).sum().backward();

        let gradient = x.grad(&gradients).unwrap().into_data().try_into_vec::<f32>().unwrap();
        assert_eq!(gradient, vec![1040.0; 512]);
    }
}
