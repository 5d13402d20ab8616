//! The memory behind tensors of the flex backend.

use burn::tensor::Tensor;

#[cfg(feature = "flex")]
pub use on::is_plain;
#[cfg(feature = "flex")]
pub(crate) use on::{Heads, Positions, change, is_float32, numbers, view};

#[cfg(not(feature = "flex"))]
pub use off::is_plain;
#[cfg(not(feature = "flex"))]
pub(crate) use off::{change, numbers, view};

use crate::matrix_view::MatrixView;

/// A matrix of any stored type.
#[cfg_attr(not(feature = "flex"), expect(dead_code, reason = "made from flex's tensors only"))]
pub(crate) enum AnyMatrix<'w> {
    F32(MatrixView<'w, f32>),
    BF16(MatrixView<'w, burn::tensor::bf16>),
    F16(MatrixView<'w, burn::tensor::f16>),
}

#[cfg(feature = "flex")]
mod on {
    use std::ops::Range;

    use burn::backend::DispatchDevice;
    use burn::tensor::{DType, Element, TensorData};
    use burn_flex::{Flex, FlexTensor};

    use super::{AnyMatrix, MatrixView, Tensor};
    use crate::matrix_view::Order;
    use crate::stored::Stored;

    /// Returns whether this crate's kernels take `x`: it is in flex's memory, and no gradient is recorded.
    pub fn is_plain<const D: usize>(x: &Tensor<D>) -> bool {
        matches!(x.device().as_dispatch(), DispatchDevice::Flex(_))
    }

    /// Calls `read` with the numbers of `w`, if they are in the host's memory as they are.
    pub(crate) fn view<R>(w: &Tensor<2>, read: impl FnOnce(AnyMatrix<'_>) -> R) -> Option<R> {
        if !is_plain(w) {
            return None;
        }
        let w = w.clone().try_into_primitive::<Flex>().ok()?;
        let matrix = match w.dtype() {
            DType::F32 => AnyMatrix::F32(matrix(&w)?),
            DType::BF16 => AnyMatrix::BF16(matrix(&w)?),
            DType::F16 => AnyMatrix::F16(matrix(&w)?),
            _ => return None,
        };
        Some(read(matrix))
    }

    fn matrix<W: Stored + Element + bytemuck::Pod>(w: &FlexTensor) -> Option<MatrixView<'_, W>> {
        let &[d_in, d_out] = w.layout().shape().as_slice() else {
            return None;
        };
        let &[by_input, by_output] = w.layout().strides() else {
            return None;
        };
        let (order, stride) = match (by_input, by_output) {
            (stride, 1) => (Order::ByInput, stride),
            (1, stride) => (Order::ByOutput, stride),
            _ => return None,
        };
        let values = w.storage::<W>().get(w.layout().start_offset()..)?;
        MatrixView::new(values, [d_in, d_out], order, usize::try_from(stride).ok()?)
    }

    /// Calls `read` with the numbers of `x`, row-major, if they are float32 in flex's memory in this order.
    pub(crate) fn numbers<const D: usize, R>(
        x: &Tensor<D>,
        read: impl FnOnce(&[f32]) -> R,
    ) -> Option<R> {
        if !is_plain(x) || x.dtype() != DType::F32 {
            return None;
        }
        let x = x.clone().try_into_primitive::<Flex>().ok()?;
        let (from, to) = x.layout().contiguous_offsets()?;
        Some(read(&x.storage()[from..to]))
    }

    /// Returns whether `x` is float32 in flex's memory.
    pub(crate) fn is_float32<const D: usize>(x: &Tensor<D>) -> bool {
        is_plain(x) && x.dtype() == DType::F32
    }

    /// Keys or values, `[rows, heads, positions, head_dim]`, in flex's memory.
    #[derive(Debug)]
    pub(crate) struct Heads {
        flex: FlexTensor,
        start: usize,
        dims: [usize; 4],
    }

    impl Heads {
        /// # Panics
        /// If `x` [is not float32](is_float32).
        pub(crate) fn of(x: Tensor<4>) -> Self {
            let dims = x.dims();
            let flex = {
                let x = x.try_into_primitive::<Flex>().expect("the device was asked");
                x.to_contiguous()
            };
            Self { start: flex.layout().start_offset(), flex, dims }
        }

        pub(crate) fn rows(&self) -> usize {
            self.dims[0]
        }

        /// The number of heads.
        pub(crate) fn count(&self) -> usize {
            self.dims[1]
        }

        /// The numbers of a head in a row, at the positions `seen`.
        pub(crate) fn head(&self, row: usize, head: usize, seen: &Range<usize>) -> Positions<'_> {
            let [_, heads, positions, head_dim] = self.dims;
            let first = self.start + (row * heads + head) * positions * head_dim;
            let numbers = first + seen.start * head_dim..first + seen.end * head_dim;
            let numbers = &self.flex.storage()[numbers];
            Positions { numbers, head_dim }
        }

        /// Writes the numbers of all rows and heads at `position`; a copy is made of numbers that are shared.
        pub(crate) fn write(&mut self, position: usize, numbers: &[f32]) {
            let [_, _, positions, head_dim] = self.dims;
            let stored = &mut self.flex.storage_mut::<f32>()[self.start..];
            let heads = stored.chunks_exact_mut(positions * head_dim);
            for (head, numbers) in heads.zip(numbers.chunks_exact(head_dim)) {
                head[position * head_dim..][..head_dim].copy_from_slice(numbers);
            }
        }

        pub(crate) fn into_tensor(self) -> Tensor<4> {
            Tensor::from_primitive::<Flex>(self.flex)
        }
    }

    /// Keys or values of one head, `[positions, head_dim]`.
    #[derive(Clone, Copy)]
    pub(crate) struct Positions<'h> {
        numbers: &'h [f32],
        head_dim: usize,
    }

    impl<'h> Positions<'h> {
        /// The number of positions.
        pub(crate) fn len(self) -> usize {
            self.numbers.len() / self.head_dim
        }

        /// The numbers of a position.
        #[inline(always)]
        pub(crate) fn at(self, position: usize) -> &'h [f32] {
            &self.numbers[position * self.head_dim..][..self.head_dim]
        }

        /// The numbers of the positions from `first` on.
        #[inline(always)]
        pub(crate) fn group<const N: usize>(self, first: usize) -> [&'h [f32]; N] {
            std::array::from_fn(|at| self.at(first + at))
        }
    }

    /// Calls `change` with the numbers of `x`, row-major, to change them in place. Gives `x` back if its numbers
    /// are not float32 in flex's memory.
    pub(crate) fn change<const D: usize>(
        x: Tensor<D>,
        change: impl FnOnce(&mut [f32]),
    ) -> Result<Tensor<D>, Tensor<D>> {
        if !is_plain(&x) || x.dtype() != DType::F32 {
            return Err(x);
        }
        let count = x.dims().iter().product::<usize>();
        let mut flex = {
            let x = x.try_into_primitive::<Flex>().expect("the device was asked");
            x.to_contiguous()
        };
        if !flex.is_unique() || flex.bytes().len() != count * size_of::<f32>() {
            let (from, to) = flex.layout().contiguous_offsets().expect("it was made contiguous");
            let numbers = flex.storage::<f32>()[from..to].to_vec();
            flex = FlexTensor::from_data(TensorData::new(numbers, flex.layout().shape().clone()));
        }
        change(flex.storage_mut());
        Ok(Tensor::from_primitive::<Flex>(flex))
    }
}

#[cfg(not(feature = "flex"))]
mod off {
    use super::{AnyMatrix, Tensor};

    /// Returns whether this crate's kernels take `x`, which they do on flex only.
    pub fn is_plain<const D: usize>(_: &Tensor<D>) -> bool {
        false
    }

    pub(crate) fn view<R>(_: &Tensor<2>, _: impl FnOnce(AnyMatrix<'_>) -> R) -> Option<R> {
        None
    }

    pub(crate) fn numbers<const D: usize, R>(
        _: &Tensor<D>,
        _: impl FnOnce(&[f32]) -> R,
    ) -> Option<R> {
        None
    }

    pub(crate) fn change<const D: usize>(
        x: Tensor<D>,
        _: impl FnOnce(&mut [f32]),
    ) -> Result<Tensor<D>, Tensor<D>> {
        Err(x)
    }
}
