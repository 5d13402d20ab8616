//! Sparse features as CSR arrays.

use std::collections::BTreeMap;
use std::sync::Arc;

use nanoscope::{HookPoint, SparseFeatures};
use numpy::{PyArray1, PyArrayDyn};
use pyo3::exceptions::PyIndexError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;

use crate::arrays::array;

/// The active features of a number of activations, a row each, in compressed sparse row form.
///
/// `scipy.sparse.csr_matrix((f.data, f.indices, f.indptr), shape=f.shape)` is the same matrix; `tocsr()` makes it.
/// A feature that is not listed is 0.
#[pyclass(frozen, module = "nanoscope")]
pub(crate) struct Features {
    pub(crate) sparse: Arc<SparseFeatures>,
    /// The shape of the activations in front of their last axis.
    pub(crate) leading: Vec<usize>,
    data: PyOnceLock<Py<PyArray1<f32>>>,
    indices: PyOnceLock<Py<PyArray1<i32>>>,
    indptr: PyOnceLock<Py<PyAny>>,
}

impl Features {
    pub(crate) fn new(sparse: SparseFeatures, leading: Vec<usize>) -> Self {
        Self {
            sparse: Arc::new(sparse),
            leading,
            data: PyOnceLock::new(),
            indices: PyOnceLock::new(),
            indptr: PyOnceLock::new(),
        }
    }
}

#[pymethods]
impl Features {
    /// The activations of the active features: float32, shape `[nnz]`.
    #[getter]
    fn data(&self, py: Python<'_>) -> Py<PyArray1<f32>> {
        let make = || PyArray1::from_slice(py, self.sparse.csr().2).unbind();
        self.data.get_or_init(py, make).clone_ref(py)
    }

    /// The indices of the active features, ascending in each row: int32, shape `[nnz]`.
    #[getter]
    fn indices(&self, py: Python<'_>) -> Py<PyArray1<i32>> {
        // An SAE has at most 2^28 features.
        let make = || {
            let indices = self.sparse.csr().1.iter().map(|&index| index as i32).collect();
            PyArray1::from_vec(py, indices).unbind()
        };
        self.indices.get_or_init(py, make).clone_ref(py)
    }

    /// The bounds of the rows in `data` and `indices`: shape `[rows + 1]`, int32 unless there are more than 2^31
    /// entries.
    #[getter]
    fn indptr(&self, py: Python<'_>) -> Py<PyAny> {
        let make = || {
            let bounds = self.sparse.csr().0;
            match bounds.iter().map(|&bound| i32::try_from(bound)).collect() {
                Ok(bounds) => PyArray1::<i32>::from_vec(py, bounds).into_any().unbind(),
                Err(_) => {
                    let bounds = bounds.iter().map(|&bound| bound as i64).collect();
                    PyArray1::<i64>::from_vec(py, bounds).into_any().unbind()
                }
            }
        };
        self.indptr.get_or_init(py, make).clone_ref(py)
    }

    /// `(rows, d_sae)`.
    #[getter]
    fn shape(&self) -> (usize, usize) {
        (self.sparse.rows(), self.sparse.d_sae())
    }

    /// The shape of the activations without their last axis, such as `(batch, seq)`; its product is `rows`.
    #[getter]
    fn leading<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, pyo3::types::PyTuple>> {
        pyo3::types::PyTuple::new(py, &self.leading)
    }

    /// The number of active features in all rows.
    #[getter]
    fn nnz(&self) -> usize {
        self.sparse.nnz()
    }

    /// All values, zeros included: float32, shape `[rows, d_sae]`.
    fn to_dense<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArrayDyn<f32>>> {
        let sparse = &self.sparse;
        let values = py.detach(|| sparse.to_dense());
        array(py, values, &[sparse.rows(), sparse.d_sae()])
    }

    /// The `k` largest values of each row, zeros included, the largest first: `(indices, values)`, int64 and float32
    /// of shape `[rows, min(k, d_sae)]`. Of equal values the one with the lower index comes first.
    #[allow(clippy::type_complexity, reason = "a pair of arrays is what Python takes")]
    fn top_k<'py>(
        &self,
        py: Python<'py>,
        k: usize,
    ) -> PyResult<(Bound<'py, PyArrayDyn<i64>>, Bound<'py, PyArrayDyn<f32>>)> {
        let sparse = &self.sparse;
        let (rows, k) = (sparse.rows(), k.min(sparse.d_sae()));
        let (indices, values) = py.detach(|| {
            let ranked = (0..rows).flat_map(|row| ranked(sparse, row, k));
            ranked.map(|(index, value)| (i64::from(index), value)).unzip::<_, _, Vec<_>, Vec<_>>()
        });
        Ok((array(py, indices, &[rows, k])?, array(py, values, &[rows, k])?))
    }

    /// At most `n` active features of `row` as `(index, activation)`, the largest activation first.
    #[pyo3(signature = (row, n = 10))]
    fn strongest(&self, row: isize, n: usize) -> PyResult<Vec<(u32, f32)>> {
        let rows = self.sparse.rows();
        let at = if row < 0 { row.checked_add_unsigned(rows) } else { Some(row) };
        match at.and_then(|at| usize::try_from(at).ok()).filter(|&at| at < rows) {
            Some(row) => Ok(self.sparse.strongest(row, n)),
            None => Err(PyIndexError::new_err(format!("row {row} of {rows} rows"))),
        }
    }

    /// The same as a `scipy.sparse.csr_matrix`, which shares the arrays. Needs SciPy.
    fn tocsr<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let parts = (self.data(py), self.indices(py), self.indptr(py));
        let options = PyDict::new(py);
        options.set_item("shape", self.shape())?;
        py.import("scipy.sparse")?.call_method("csr_matrix", (parts,), Some(&options))
    }

    #[pyo3(signature = (dtype = None, copy = None))]
    fn __array__<'py>(
        &self,
        py: Python<'py>,
        dtype: Option<Bound<'py, PyAny>>,
        copy: Option<bool>,
    ) -> PyResult<Bound<'py, PyAny>> {
        // The array is new in any case.
        let _ = copy;
        let dense = self.to_dense(py)?.into_any();
        match dtype {
            Some(dtype) => dense.call_method1("astype", (dtype,)),
            None => Ok(dense),
        }
    }

    fn __len__(&self) -> usize {
        self.sparse.rows()
    }

    fn __repr__(&self) -> String {
        let (rows, d_sae) = self.shape();
        format!("Features(rows={rows}, d_sae={d_sae}, nnz={})", self.sparse.nnz())
    }
}

/// Features by hook point.
pub(crate) type ByHook = BTreeMap<HookPoint, Arc<SparseFeatures>>;

/// Features as a dict for Python, and by hook point; both share them. `leading` gives the shape of the activations
/// without their last axis from the number of rows.
pub(crate) fn shared(
    py: Python<'_>,
    features: BTreeMap<HookPoint, SparseFeatures>,
    leading: impl Fn(usize) -> Vec<usize>,
) -> PyResult<(Py<PyDict>, ByHook)> {
    let dict = PyDict::new(py);
    let mut by_hook = ByHook::new();
    for (hook, sparse) in features {
        let leading = leading(sparse.rows());
        let features = Features::new(sparse, leading);
        by_hook.insert(hook, features.sparse.clone());
        dict.set_item(hook.to_string(), features)?;
    }
    Ok((dict.unbind(), by_hook))
}

/// The `k` largest of all values of `row`: positive ones, zeros, negative ones.
fn ranked(features: &SparseFeatures, row: usize, k: usize) -> Vec<(u32, f32)> {
    let active = features.strongest(row, features.d_sae());
    let positive = active.iter().take_while(|(_, value)| *value > 0.0).count();
    let mut ranked: Vec<_> = active[..positive.min(k)].to_vec();
    let mut listed = features.row(row).map(|(index, _)| index).peekable();
    let mut zeros = 0..features.d_sae() as u32;
    while ranked.len() < k {
        match zeros.next() {
            Some(index) if listed.peek() == Some(&index) => drop(listed.next()),
            Some(index) => ranked.push((index, 0.0)),
            None => break,
        }
    }
    let missing = k - ranked.len();
    ranked.extend(active[positive..].iter().take(missing));
    ranked
}
