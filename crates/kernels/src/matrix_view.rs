use crate::stored::Stored;

/// A matrix of `[d_in, d_out]` in the host's memory.
#[derive(Debug, Clone, Copy)]
pub struct MatrixView<'w, W> {
    pub(crate) values: &'w [W],
    pub(crate) d_in: usize,
    pub(crate) d_out: usize,
    pub(crate) order: Order,
    /// The distance of two rows in memory.
    pub(crate) stride: usize,
}

/// The largest number of rows that are multiplied with the matrix's numbers as they are. More are multiplied in
/// panels, whose numbers are copied first.
pub(crate) const FEW_ROWS: usize = 8;

/// The order of a matrix's numbers in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// A row of `d_out` numbers for each input.
    ByInput,
    /// A row of `d_in` numbers for each output, as PyTorch stores a linear layer.
    ByOutput,
}

impl<'w, W: Stored> MatrixView<'w, W> {
    /// Creates a matrix whose rows in memory begin at every multiple of `stride`. `None` if `values` is too
    /// short for it, or if rows overlap.
    pub fn new(
        values: &'w [W],
        [d_in, d_out]: [usize; 2],
        order: Order,
        stride: usize,
    ) -> Option<Self> {
        let [rows, columns] = match order {
            Order::ByInput => [d_in, d_out],
            Order::ByOutput => [d_out, d_in],
        };
        let needed = rows.checked_sub(1)?.checked_mul(stride)?.checked_add(columns)?;
        let fits = values.len() >= needed && stride >= columns && columns > 0;
        fits.then_some(Self { values, d_in, d_out, order, stride })
    }

    /// The shape, `[d_in, d_out]`.
    pub fn dims(&self) -> [usize; 2] {
        [self.d_in, self.d_out]
    }

    /// Computes `x · self` in float32. The sums of a row do not depend on the number of threads or on the other
    /// rows; with up to eight rows they are added in another order than with more.
    ///
    /// # Shapes
    /// - `x`: `[rows, d_in]`, row-major
    /// - output: `[rows, d_out]`, row-major
    ///
    /// # Panics
    /// If the length of `x` is not a multiple of `d_in`.
    pub fn multiply(&self, x: &[f32]) -> Vec<f32> {
        assert!(x.len().is_multiple_of(self.d_in), "{} numbers in rows of {}", x.len(), self.d_in);
        if x.len() / self.d_in <= FEW_ROWS { self.multiply_few(x) } else { self.multiply_many(x) }
    }

    /// Looks up rows of the matrix, in float32.
    ///
    /// # Shapes
    /// - output: `[ids, d_out]`, row-major
    ///
    /// # Panics
    /// If an index is out of range.
    pub(crate) fn rows(&self, ids: &[u32]) -> Vec<f32> {
        let mut rows = vec![0.0; ids.len() * self.d_out];
        assert!(ids.iter().all(|&id| (id as usize) < self.d_in), "rows of {}", self.d_in);
        match self.order {
            Order::ByInput => {
                for (row, &id) in rows.chunks_exact_mut(self.d_out).zip(ids) {
                    let values = &self.values[id as usize * self.stride..][..self.d_out];
                    row.iter_mut().zip(values).for_each(|(to, value)| *to = value.widen());
                }
            }
            // The memory is read from its beginning to its end.
            Order::ByOutput => {
                for output in 0..self.d_out {
                    let values = &self.values[output * self.stride..][..self.d_in];
                    let to = rows[output..].iter_mut().step_by(self.d_out);
                    to.zip(ids).for_each(|(to, &id)| *to = values[id as usize].widen());
                }
            }
        }
        rows
    }

    /// The numbers of one input; `None` if they are not one after another.
    ///
    /// # Panics
    /// If `input` is out of range.
    #[inline(always)]
    pub(crate) fn row(&self, input: usize) -> Option<&'w [W]> {
        assert!(input < self.d_in, "row {input} of {}", self.d_in);
        (self.order == Order::ByInput).then(|| &self.values[input * self.stride..][..self.d_out])
    }
}
