use burn::tensor::{Int, Tensor, TensorData};
use nanoscope_kernels::SparseRows;

use crate::sae::CAST_CHUNK;
use crate::{Sae, SaeError, SparseFeatures};

/// The factor by which padding may enlarge sparse rows that are computed together.
const MAX_PADDING: usize = 4;

impl Sae {
    /// Decodes features to activations: `f · W_dec + b_dec`, with the normalisation undone, plus
    /// `x · W_skip` if there is a skip connection.
    ///
    /// # Shapes
    /// - `f`: `[rows, d_sae]`
    /// - `x`: `[rows, d_in]`, the activations that were encoded; their values matter only if the SAE
    ///   normalises each row or has a skip connection
    /// - output: `[rows, d_out]`
    ///
    /// # Panics
    /// If `f` does not have `d_sae` columns, or `x` does not have `d_in` columns and as many rows as
    /// `f`.
    pub fn decode(&self, f: Tensor<2>, x: Tensor<2>) -> Tensor<2> {
        let f = match &self.dec_norm {
            Some(norms) => f / clamp_norms(norms.clone()).unsqueeze(),
            None => f,
        };
        self.finish(self.w_dec.multiply(f), x)
    }

    /// Decodes sparse features like [`decode`](Self::decode), reading only the decoder rows of active
    /// features.
    ///
    /// # Shapes
    /// - `x`: `[rows, d_in]`
    /// - output: `[rows, d_out]`
    ///
    /// # Panics
    /// If `f` has another `d_sae`, or `x` another number of rows.
    pub fn decode_sparse(&self, f: &SparseFeatures, x: Tensor<2>) -> Tensor<2> {
        assert_eq!(f.d_sae(), self.config().d_sae(), "features of another SAE");
        let d_out = self.config().d_out();
        let device = self.device();
        if f.nnz() == 0 {
            return self.finish(Tensor::zeros([f.rows(), d_out], &device), x);
        }
        let (indptr, indices, values) = f.csr();
        let rows = SparseRows { indptr, indices, values };
        // A rescaling by the rows' norms is undone in the rows.
        let is_plain = self.dec_norm.is_none();
        let sum = is_plain.then(|| self.w_dec.multiply_sparse(rows, &device)).flatten();
        self.finish(sum.unwrap_or_else(|| self.gathered(rows)), x)
    }

    /// Computes `f · W_dec` by gathering the decoder's rows. Rows of similar length are computed together, so that
    /// a long one does not widen all others.
    fn gathered(&self, f: SparseRows<'_>) -> Tensor<2> {
        let d_out = self.config().d_out();
        let len = |row: usize| f.indptr[row + 1] - f.indptr[row];
        let mut order: Vec<usize> = (0..f.indptr.len() - 1).collect();
        let widest = order.iter().map(|&row| len(row)).max().unwrap_or(0);
        // Every shape costs a GPU a kernel of its own, so that a little padding is cheaper.
        if order.len() * widest <= MAX_PADDING * f.values.len() {
            let rows = (CAST_CHUNK / (widest * d_out)).max(1);
            let parts = order.chunks(rows).map(|rows| self.gathered_rows(f, rows, widest));
            return Tensor::cat(parts.collect(), 0);
        }
        order.sort_by_key(|&row| std::cmp::Reverse(len(row)));
        let (mut parts, mut left) = (Vec::new(), order.as_slice());
        while let Some(&first) = left.first() {
            let widest = len(first).max(1);
            let similar = left.partition_point(|&row| 2 * len(row) >= widest).max(1);
            // Rows without features are as well computed in one go.
            let similar = if len(first) == 0 { left.len() } else { similar };
            let (part, rest) = left.split_at(similar.min((CAST_CHUNK / (widest * d_out)).max(1)));
            parts.push(self.gathered_rows(f, part, widest));
            left = rest;
        }
        let mut place = vec![0_i32; order.len()];
        for (at, row) in order.into_iter().enumerate() {
            place[row] = at as i32;
        }
        let sorted = Tensor::cat(parts, 0);
        let rows = place.len();
        let place = Tensor::<1, Int>::from_data(TensorData::new(place, [rows]), &sorted.device());
        sorted.select(0, place)
    }

    /// Computes `rows` of `f · W_dec`, each with up to `widest` active features.
    fn gathered_rows(&self, f: SparseRows<'_>, rows: &[usize], widest: usize) -> Tensor<2> {
        let d_out = self.config().d_out();
        // Shorter rows are padded with feature 0 at value 0.
        let mut indices = vec![0_u32; rows.len() * widest];
        let mut values = vec![0.0_f32; rows.len() * widest];
        for (at, &row) in rows.iter().enumerate() {
            for (entry, to) in (f.indptr[row]..f.indptr[row + 1]).zip(at * widest..) {
                indices[to] = f.indices[entry];
                values[to] = f.values[entry];
            }
        }
        let device = self.device();
        let gathered = self.gather(&indices);
        let values = TensorData::new(values, [rows.len(), 1, widest]);
        let product = Tensor::<3>::from_data(values, &device);
        product.matmul(gathered.reshape([rows.len(), widest, d_out])).reshape([rows.len(), d_out])
    }

    /// Adds the bias to `f · W_dec`, undoes the normalisation and adds the skip connection.
    fn finish(&self, sum: Tensor<2>, x: Tensor<2>) -> Tensor<2> {
        let config = self.config();
        let mut out = sum + self.b_dec.clone().unsqueeze();
        let scale = config.normalization().constant_inverse();
        if scale != 1.0 {
            out = out * scale;
        }
        if let Some(inverse) = config.normalization().inverse(x.clone()) {
            out = out * inverse.scale;
            if let Some(shift) = inverse.shift {
                out = out + shift;
            }
        }
        match &self.w_skip {
            Some(w_skip) => out + w_skip.multiply(x),
            None => out,
        }
    }

    /// The decoder rows of `features` in float32, with the rescaling by their norms undone;
    /// `[features, d_out]`.
    pub(crate) fn gather(&self, features: &[u32]) -> Tensor<2> {
        let indices = self.indices(features);
        let rows = self.w_dec.rows(features, &indices);
        match &self.dec_norm {
            Some(norms) => rows / clamp_norms(norms.clone().select(0, indices)).unsqueeze_dim(1),
            None => rows,
        }
    }

    /// The directions of `features`: what each adds to the reconstruction per unit of its value, up to
    /// [`output_scale`](Self::output_scale). These are the decoder's rows, with a normalisation and
    /// rescaling undone that are the same for every activation.
    ///
    /// # Shapes
    /// - output: `[features, d_out]`
    ///
    /// # Errors
    /// [`SaeError::FeatureOutOfRange`] for the first that is out of range.
    pub fn directions(&self, features: &[usize]) -> Result<Tensor<2>, SaeError> {
        for &feature in features {
            self.config().check_feature(feature)?;
        }
        let rows = self.gather(&features.iter().map(|&feature| feature as u32).collect::<Vec<_>>());
        Ok(match self.config().normalization().constant_inverse() {
            1.0 => rows,
            scale => rows * scale,
        })
    }

    /// The direction of one feature; a row of [`directions`](Self::directions).
    ///
    /// # Shapes
    /// - output: `[d_out]`
    ///
    /// # Errors
    /// [`SaeError::FeatureOutOfRange`] if `feature` is.
    pub fn direction(&self, feature: usize) -> Result<Tensor<1>, SaeError> {
        Ok(self.directions(&[feature])?.squeeze_dim(0))
    }

    /// The factor of [`directions`](Self::directions) for each activation, if the SAE normalises each
    /// row; `None` if the factor is always 1.
    ///
    /// # Shapes
    /// - `x`: `[rows, d_in]`
    /// - output: `[rows, 1]`
    pub fn output_scale(&self, x: Tensor<2>) -> Option<Tensor<2>> {
        Some(self.config().normalization().inverse(x)?.scale)
    }
}

/// Clamps norms to positive numbers, to divide by. A decoder row of zeros decodes to zeros whatever it
/// is divided by.
pub(crate) fn clamp_norms(norms: Tensor<1>) -> Tensor<1> {
    norms.clamp_min(f32::MIN_POSITIVE)
}
