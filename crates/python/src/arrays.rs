//! NumPy arrays, and everything that becomes one: DLPack tensors, lists, numbers.

use nanoscope::burn::tensor::{DType, Device, Tensor, TensorData};
use nanoscope::{Microscope, TokenBatch};
use numpy::{
    IntoPyArray, PyArrayDyn, PyArrayMethods, PyReadonlyArrayDyn, PyUntypedArray,
    PyUntypedArrayMethods,
};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use crate::errors::{exception, refused};

/// Numbers with their shape.
#[derive(Debug, Clone)]
pub(crate) struct Floats {
    pub(crate) values: Vec<f32>,
    pub(crate) shape: Vec<usize>,
}

impl Floats {
    /// The numbers of `object`, as float32: a NumPy array, a DLPack tensor on the CPU, or nested lists.
    pub(crate) fn of(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        let py = object.py();
        let array = as_array(object)?;
        let kind: String = array.getattr("dtype")?.getattr("kind")?.extract()?;
        if !["f", "i", "u", "b"].contains(&kind.as_str()) {
            let dtype = array.getattr("dtype")?;
            return Err(refused(py, format!("an array of real numbers is needed, found {dtype}")));
        }
        let array: PyReadonlyArrayDyn<'_, f32> = contiguous(&array, "float32")?.extract()?;
        let shape = array.as_untyped().shape().to_vec();
        Ok(Self { values: array.as_slice()?.to_vec(), shape })
    }

    /// The numbers as a matrix with rows of `width`, and the shape in front of the last axis.
    pub(crate) fn rows(
        self,
        py: Python<'_>,
        name: &str,
        width: usize,
        device: &Device,
    ) -> PyResult<(Tensor<2>, Vec<usize>)> {
        let Self { values, shape } = self;
        let Some((&found, leading)) = shape.split_last().filter(|&(&found, _)| found == width)
        else {
            let text =
                format!("{name} has shape {shape:?}, its last axis must have {width} numbers");
            return Err(refused(py, text));
        };
        let rows = values.len() / found;
        Ok((Tensor::from_data(TensorData::new(values, [rows, found]), device), leading.to_vec()))
    }

    /// The numbers as a tensor of rank `D`.
    pub(crate) fn tensor<const D: usize>(
        self,
        py: Python<'_>,
        name: &str,
        device: &Device,
    ) -> PyResult<Tensor<D>> {
        let Self { values, shape } = self;
        let shape: [usize; D] = shape.try_into().map_err(|shape: Vec<usize>| {
            refused(py, format!("{name} has shape {shape:?}, it must have {D} axes"))
        })?;
        Ok(Tensor::from_data(TensorData::new(values, shape), device))
    }
}

/// A new array with `values` in `shape`, which takes over their memory.
pub(crate) fn array<'py, T: numpy::Element>(
    py: Python<'py>,
    values: Vec<T>,
    shape: &[usize],
) -> PyResult<Bound<'py, PyArrayDyn<T>>> {
    values.into_pyarray(py).reshape(shape.to_vec())
}

/// The numbers of `x` on the host.
pub(crate) fn to_host<const D: usize>(x: Tensor<D>) -> Vec<f32> {
    x.into_data_dtype(DType::F32).try_into_vec().expect("the numbers were converted to float32")
}

/// The tokens of `object`: a text, which follows what the tokenizer puts in front, a list of texts, or ids in an
/// array of shape `[seq]` or `[batch, seq]`.
pub(crate) fn tokens(scope: &Microscope, object: &Bound<'_, PyAny>) -> PyResult<TokenBatch> {
    let py = object.py();
    let encode = |text: &str| scope.encode(text).map_err(|error| exception(py, error));
    let rows = if let Ok(text) = object.cast::<PyString>() {
        vec![encode(text.to_str()?)?]
    } else if let Ok(texts) = object.extract::<Vec<String>>() {
        texts.iter().map(|text| encode(text)).collect::<PyResult<_>>()?
    } else {
        ids(object)?
    };
    TokenBatch::new(&rows).map_err(|error| exception(py, error))
}

/// The ids of `object`, an array of shape `[seq]` or `[batch, seq]`.
pub(crate) fn ids(object: &Bound<'_, PyAny>) -> PyResult<Vec<Vec<u32>>> {
    let py = object.py();
    let array = as_array(object)?;
    let kind: String = array.getattr("dtype")?.getattr("kind")?.extract()?;
    let is_empty = array.getattr("size")?.extract::<usize>()? == 0;
    if !is_empty && kind != "i" && kind != "u" {
        let dtype = array.getattr("dtype")?;
        return Err(refused(py, format!("token ids are whole numbers, found {dtype}")));
    }
    let array: PyReadonlyArrayDyn<'_, i64> = contiguous(&array, "int64")?.extract()?;
    let shape = array.as_untyped().shape().to_vec();
    let ([seq] | [_, seq]) = *shape.as_slice() else {
        let text = format!("token ids have shape {shape:?}, expected [seq] or [batch, seq]");
        return Err(refused(py, text));
    };
    let id = |&id: &i64| {
        u32::try_from(id).map_err(|_| refused(py, format!("{id} is not the id of a token")))
    };
    let ids = array.as_slice()?.iter().map(id).collect::<PyResult<Vec<u32>>>()?;
    // Without ids there are no rows, and the batch is refused.
    Ok(ids.chunks(seq.max(1)).map(<[u32]>::to_vec).collect())
}

/// `object` as a NumPy array. The memory of a DLPack tensor is shared.
fn as_array<'py>(object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = object.py();
    let numpy = py.import("numpy")?;
    if object.cast::<PyUntypedArray>().is_ok() || !object.hasattr(intern!(py, "__dlpack__"))? {
        return numpy.call_method1("asarray", (object,));
    }
    // Of torch's, the values without their history are the ones to read.
    let detached = match object.getattr_opt("detach")? {
        Some(detach) => detach.call0()?,
        None => object.clone(),
    };
    numpy.call_method1("from_dlpack", (detached,)).map_err(|error| {
        let text = format!(
            "NumPy cannot read this tensor ({}); pass one on the CPU in float32, float64 or whole numbers",
            error.value(py)
        );
        let refused = refused(py, text);
        refused.set_cause(py, Some(error));
        refused
    })
}

/// `array` in row-major order with numbers of `dtype`; the array itself if it has them.
fn contiguous<'py>(array: &Bound<'py, PyAny>, dtype: &str) -> PyResult<Bound<'py, PyAny>> {
    let py = array.py();
    let options = PyDict::new(py);
    options.set_item("dtype", dtype)?;
    options.set_item("order", "C")?;
    py.import("numpy")?.call_method("asarray", (array,), Some(&options))
}
