//! A model's configuration together with the names of its weights.

use std::collections::BTreeSet;

use burn::tensor::TensorData;
use nanoscope_kernels::HostMatrix;
use nanoscope_transformer::{Era, GptConfig, ParamSpec};

use crate::container::{MatrixDtype, Order, TensorSource, WeightDtype};
use crate::error::CheckpointError;
use crate::model::families::{Part, Stored};
use crate::model::kind::ModelKind;
use crate::model::weight_naming::WeightNaming;

/// Everything known about a model before its weights are read.
#[derive(Debug)]
pub(crate) struct Description {
    pub(crate) source: TensorSource,
    pub(crate) naming: WeightNaming,
    pub(crate) config: GptConfig,
    pub(crate) kind: ModelKind,
    /// Eras with the same weights and another function, if nobody chose one.
    pub(crate) also_fits: Vec<Era>,
    #[cfg_attr(not(feature = "sae"), expect(dead_code, reason = "only `inspect` shows it"))]
    /// The configuration exactly as stored in the file.
    pub(crate) raw: serde_json::Value,
}

impl Description {
    /// Checks that every weight is present in the expected shape, and that there are no others.
    pub(crate) fn check(&self) -> Result<(), CheckpointError> {
        let mut expected = BTreeSet::new();
        for spec in self.config.params() {
            let stored = self.naming.stored(&spec);
            let found = self.source.file_of(&stored.name)?;
            let found = found.info_of_shape(&stored.name, &stored.shape)?.dtype;
            if matches!(self.naming, WeightNaming::Family(_)) && !found.is_float() {
                let (path, tensor) = (self.source.path().to_owned(), stored.name);
                return Err(CheckpointError::NotFloats { path, tensor, found });
            }
            expected.insert(stored.name);
        }
        let of_model = |name: &&str| self.naming.is_of_model(name);
        match self
            .source
            .tensors()
            .map(|(name, _)| name)
            .filter(of_model)
            .find(|name| !expected.contains(*name))
        {
            Some(name) => Err(CheckpointError::UnexpectedTensor {
                path: self.source.path().to_owned(),
                tensor: name.to_owned(),
                kind: self.kind,
            }),
            None => Ok(()),
        }
    }

    /// Reads the weight `spec` as float32.
    ///
    /// # Shapes
    /// - output: `spec.shape`
    pub(crate) fn read(&self, spec: &ParamSpec) -> Result<TensorData, CheckpointError> {
        let Stored { name, shape, part, transposed, plus } = self.naming.stored(spec);
        let file = self.source.file_of(&name)?;
        if part == Part::Whole && plus == 0.0 {
            let order = if transposed { Order::Transposed } else { Order::AsStored };
            return file.read(&name, &spec.shape, order);
        }
        let taken = part.take(file.read(&name, &shape, Order::AsStored)?);
        let [rows, columns] = match taken.shape().as_slice() {
            &[rows, columns] if transposed => [rows, columns],
            _ => [taken.num_elements(), 1],
        };
        let numbers: Vec<f32> = taken.iter::<f32>().map(|value| value + plus).collect();
        let values = (0..columns).flat_map(|c| (0..rows).map(move |r| r * columns + c));
        Ok(TensorData::new(values.map(|at| numbers[at]).collect::<Vec<_>>(), spec.shape.clone()))
    }

    /// The type that the matrix `spec` is held in: the one that is `asked` for, otherwise its file's 16-bit type,
    /// otherwise float32.
    pub(crate) fn dtype(&self, spec: &ParamSpec, asked: Option<MatrixDtype>) -> MatrixDtype {
        let stored = || self.source.info(&self.naming.stored(spec).name)?.dtype.weight();
        asked.or_else(|| stored().map(MatrixDtype::from)).unwrap_or_default()
    }

    /// The matrix `spec` for computation in the host's memory: as its file has it if possible, otherwise
    /// rounded to `dtype`. `None` for one in float32 that is not in its file in a useful order.
    ///
    /// # Errors
    /// [`CheckpointError`] if it cannot be read, or a number does not fit `dtype`.
    pub(crate) fn host_matrix(
        &self,
        spec: &ParamSpec,
        dtype: MatrixDtype,
    ) -> Result<Option<HostMatrix>, CheckpointError> {
        let Stored { name, shape, part, transposed, plus } = self.naming.stored(spec);
        // Rows of an embedding are looked up; a linear layer is multiplied along its rows.
        let is_useful = part == Part::Whole && plus == 0.0 && (transposed || spec.is_table());
        if is_useful {
            let read_as = dtype.float().unwrap_or(WeightDtype::F32);
            let file = self.source.file_of(&name)?;
            let data = file.read_as(&name, &shape, Order::AsStored, read_as)?;
            let &[rows, columns] = shape.as_slice() else { return Ok(None) };
            return Ok(match dtype {
                MatrixDtype::Float(_) => HostMatrix::new(data, transposed),
                MatrixDtype::Int8 => {
                    let values = data.as_slice::<f32>().expect("the weight was read as float32");
                    Some(HostMatrix::quantized(values, [rows, columns], transposed))
                }
            });
        }
        if dtype == WeightDtype::F32.into() {
            return Ok(None);
        }
        let data = self.read_fitting(spec, dtype.float().unwrap_or(WeightDtype::F32))?;
        let &[rows, columns] = spec.shape.as_slice() else { return Ok(None) };
        let values = data.as_slice::<f32>().expect("weights are read as float32");
        let turned: Vec<f32> = if spec.is_table() {
            values.to_vec()
        } else {
            let at = |column| (0..rows).map(move |row| row * columns + column);
            (0..columns).flat_map(at).map(|at| values[at]).collect()
        };
        let shape = if spec.is_table() { [rows, columns] } else { [columns, rows] };
        let MatrixDtype::Float(dtype) = dtype else {
            return Ok(Some(HostMatrix::quantized(&turned, shape, !spec.is_table())));
        };
        let bytes = dtype.encode(&turned).expect("the numbers were found to fit");
        let data = TensorData::from_bytes_vec(bytes, shape.to_vec(), dtype.burn());
        Ok(HostMatrix::new(data, !spec.is_table()))
    }

    /// Reads the weight `spec` as float32, in numbers that are finite as `dtype`.
    ///
    /// # Errors
    /// [`CheckpointError`] if it cannot be read, or a number does not fit `dtype`.
    pub(crate) fn read_fitting(
        &self,
        spec: &ParamSpec,
        dtype: WeightDtype,
    ) -> Result<TensorData, CheckpointError> {
        let data = self.read(spec)?;
        let values = data.as_slice::<f32>().expect("weights are read as float32");
        match dtype.first_not_finite(values) {
            None => Ok(data),
            Some(at) => {
                let (path, stored) = (self.source.path(), self.naming.stored(spec));
                Err(CheckpointError::cannot_hold(path, &stored.name, at, (values[at], dtype)))
            }
        }
    }

    /// Returns the size of the weights in memory, in bytes, with matrices of the types that
    /// [`dtype`](Self::dtype) gives.
    pub(crate) fn bytes(&self, asked: Option<MatrixDtype>) -> u64 {
        let bytes = |spec: &ParamSpec| {
            let dtype =
                if spec.is_matrix() { self.dtype(spec, asked) } else { MatrixDtype::default() };
            spec.shape.iter().product::<usize>() as u64 * dtype.bytes() as u64
        };
        self.config.params().iter().map(bytes).sum()
    }

    /// The number of parameters.
    #[cfg(feature = "sae")]
    pub(crate) fn parameters(&self) -> u64 {
        let numbers = |spec: &ParamSpec| spec.shape.iter().product::<usize>() as u64;
        self.config.params().iter().map(numbers).sum()
    }
}
