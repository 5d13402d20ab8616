//! Small files of every container.

use std::fs;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use nanoscope_testing::pickle::{Py, PyTensor, pickle, torch_zip, zip_archive};
use safetensors::tensor::{Dtype, TensorView};
use zip::CompressionMethod;

/// A tensor's name, shape and numbers.
pub(crate) type Tensor<'a> = (&'a str, Vec<usize>, Vec<f32>);

/// A container with a number type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Container {
    Safetensors(Number),
    Pt(Number),
    Npz(Number, CompressionMethod),
    /// Has one tensor only.
    Npy(Number),
    Gguf(Number),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Number {
    F64,
    F32,
    F16,
    BF16,
}

pub(crate) const ALL: [Container; 17] = [
    Container::Safetensors(Number::F64),
    Container::Safetensors(Number::F32),
    Container::Safetensors(Number::F16),
    Container::Safetensors(Number::BF16),
    Container::Pt(Number::F64),
    Container::Pt(Number::F32),
    Container::Pt(Number::F16),
    Container::Pt(Number::BF16),
    Container::Npz(Number::F32, CompressionMethod::Stored),
    Container::Npz(Number::F16, CompressionMethod::Stored),
    Container::Npz(Number::F64, CompressionMethod::Deflated),
    Container::Npz(Number::F32, CompressionMethod::Deflated),
    Container::Npy(Number::F32),
    Container::Npy(Number::F64),
    Container::Gguf(Number::F32),
    Container::Gguf(Number::F16),
    Container::Gguf(Number::BF16),
];

pub(crate) fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures").join(path)
}

impl Number {
    pub(crate) fn bytes(self, values: &[f32]) -> Vec<u8> {
        match self {
            Self::F64 => values.iter().flat_map(|&v| f64::from(v).to_le_bytes()).collect(),
            Self::F32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            Self::F16 => values.iter().flat_map(|&v| f16::from_f32(v).to_le_bytes()).collect(),
            Self::BF16 => values.iter().flat_map(|&v| bf16::from_f32(v).to_le_bytes()).collect(),
        }
    }

    fn safetensors(self) -> Dtype {
        match self {
            Self::F64 => Dtype::F64,
            Self::F32 => Dtype::F32,
            Self::F16 => Dtype::F16,
            Self::BF16 => Dtype::BF16,
        }
    }

    fn torch(self) -> &'static str {
        match self {
            Self::F64 => "DoubleStorage",
            Self::F32 => "FloatStorage",
            Self::F16 => "HalfStorage",
            Self::BF16 => "BFloat16Storage",
        }
    }

    fn numpy(self) -> &'static str {
        match self {
            Self::F64 => "<f8",
            Self::F32 => "<f4",
            Self::F16 => "<f2",
            Self::BF16 => panic!("numpy has no bfloat16"),
        }
    }

    fn ggml(self) -> u32 {
        match self {
            Self::F64 => 28,
            Self::F32 => 0,
            Self::F16 => 1,
            Self::BF16 => 30,
        }
    }
}

impl Container {
    /// Writes a file of these tensors in `dir`.
    pub(crate) fn write(self, dir: &Path, tensors: &[Tensor<'_>]) -> PathBuf {
        let (name, bytes) = match self {
            Self::Safetensors(number) => ("a.safetensors", safetensors_file(number, tensors)),
            Self::Pt(number) => ("a.pt", pt(number, tensors)),
            Self::Npz(number, method) => ("a.npz", npz(number, method, tensors)),
            Self::Npy(number) => {
                ("a.npy", npy(number.numpy(), &tensors[0].1, &number.bytes(&tensors[0].2)))
            }
            Self::Gguf(number) => ("a.gguf", gguf("controlvector", number, tensors)),
        };
        let path = dir.join(name);
        fs::write(&path, bytes).unwrap();
        path
    }
}

pub(crate) fn safetensors_file(number: Number, tensors: &[Tensor<'_>]) -> Vec<u8> {
    let bytes: Vec<_> = tensors.iter().map(|(.., values)| number.bytes(values)).collect();
    let views = tensors.iter().zip(&bytes).map(|((name, shape, _), bytes)| {
        (*name, TensorView::new(number.safetensors(), shape.clone(), bytes).unwrap())
    });
    safetensors::serialize(views, None).unwrap()
}

pub(crate) fn pt(number: Number, tensors: &[Tensor<'_>]) -> Vec<u8> {
    let dict = tensors.iter().map(|(name, shape, _)| {
        let tensor = PyTensor { storage_type: number.torch(), ..PyTensor::whole(name, shape) };
        ((*name).to_owned(), Py::Tensor(tensor))
    });
    let bytes: Vec<_> = tensors.iter().map(|(.., values)| number.bytes(values)).collect();
    let storages: Vec<_> =
        tensors.iter().zip(&bytes).map(|((name, ..), bytes)| (*name, bytes.as_slice())).collect();
    torch_zip(&pickle(&Py::Dict(dict.collect())), &storages)
}

pub(crate) fn npz(number: Number, method: CompressionMethod, tensors: &[Tensor<'_>]) -> Vec<u8> {
    let arrays: Vec<_> = tensors
        .iter()
        .map(|(name, shape, values)| {
            (format!("{name}.npy"), npy(number.numpy(), shape, &number.bytes(values)))
        })
        .collect();
    let entries: Vec<_> =
        arrays.iter().map(|(name, bytes)| (name.clone(), bytes.as_slice())).collect();
    zip_archive(&entries, method)
}

/// An array as numpy writes it.
pub(crate) fn npy(descr: &str, shape: &[usize], numbers: &[u8]) -> Vec<u8> {
    let lens: String = shape.iter().flat_map(|len| [len.to_string(), ", ".to_owned()]).collect();
    let mut text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({lens}), }}");
    while (10 + text.len() + 1) % 64 != 0 {
        text.push(' ');
    }
    text.push('\n');
    nanoscope_testing::npy(&text, numbers)
}

pub(crate) fn gguf(architecture: &str, number: Number, tensors: &[Tensor<'_>]) -> Vec<u8> {
    let dimensions: Vec<Vec<u64>> = tensors
        .iter()
        .map(|(_, shape, _)| shape.iter().rev().map(|&len| len as u64).collect())
        .collect();
    let tensors: Vec<_> = tensors
        .iter()
        .zip(&dimensions)
        .map(|((name, _, values), dimensions)| {
            (*name, number.ggml(), dimensions.as_slice(), number.bytes(values))
        })
        .collect();
    nanoscope_testing::gguf(architecture, &tensors)
}
