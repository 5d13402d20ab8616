use std::fmt;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use nanoscope_checkpoint::{LoadOptions, MatrixDtype, ModelFiles, ModelKind, load_tokenizer_for};
use nanoscope_runtime::{InterpretableModel, RuntimeError};
use nanoscope_transformer::Era;

use crate::error::{Error, Result};
use crate::microscope::{Microscope, Origin};

/// Options for opening a model, from [`Microscope::options`].
#[derive(Default)]
pub struct OpenOptions<'a> {
    era: Option<Era>,
    tokenizer: Option<PathBuf>,
    dtype: Option<MatrixDtype>,
    progress: Option<Box<dyn FnMut(u64, u64) + 'a>>,
}

impl Microscope {
    /// Opens the model at `path`, with the tokenizer beside it and without SAEs.
    ///
    /// `path` is a weights file, a checkpoint folder, nanochat's base folder or a folder in the layout
    /// of transformers; see [`ModelFiles::find`].
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if `path` has no model or a file is broken, [`Error::TokenizerMismatch`]
    /// if the tokenizer has a larger vocabulary.
    pub fn open(path: impl AsRef<Path>, device: &Device) -> Result<Self> {
        Self::options().open(path, device)
    }

    /// Returns options for opening a model: its era, its tokenizer, and a progress callback.
    ///
    /// ```no_run
    /// use nanoscope::{Era, Microscope, device};
    ///
    /// # fn main() -> nanoscope::Result<()> {
    /// let scope = Microscope::options()
    ///     .era(Era::E4)
    ///     .tokenizer("tokenizer")
    ///     .progress(|read, total| eprintln!("{read} of {total} bytes"))
    ///     .open("base_checkpoints/d20", &device("auto")?)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn options<'a>() -> OpenOptions<'a> {
        OpenOptions::default()
    }

    /// Replaces the tokenizer by the one in the folder `dir`.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if it cannot be read, [`Error::TokenizerMismatch`] if it has another
    /// vocabulary than the model.
    pub fn with_tokenizer(mut self, dir: impl AsRef<Path>) -> Result<Self> {
        let dir = dir.as_ref();
        let (kind, files) = match &self.origin {
            Some(origin) => (Some(origin.kind), folder(&origin.files)),
            None => (None, dir),
        };
        set_tokenizer(&mut self.model, kind, [dir, files])?;
        Ok(self)
    }
}

impl<'a> OpenOptions<'a> {
    /// Reads the weights as this era of nanochat. Default: the likeliest that the files fit.
    #[must_use]
    pub fn era(mut self, era: Era) -> Self {
        self.era = Some(era);
        self
    }

    /// Takes the tokenizer in this folder. Default: the one beside the model, if there is one.
    #[must_use]
    pub fn tokenizer(mut self, dir: impl Into<PathBuf>) -> Self {
        self.tokenizer = Some(dir.into());
        self
    }

    /// Holds the model's matrices as numbers of this type. Default: a 16-bit type of their file, otherwise
    /// float32; float32 for nanochat's models and on GPUs. Computation is in float32.
    #[must_use]
    pub fn dtype(mut self, dtype: impl Into<MatrixDtype>) -> Self {
        self.dtype = Some(dtype.into());
        self
    }

    /// Calls `progress` with the bytes of weights read so far and in total.
    #[must_use]
    pub fn progress(mut self, progress: impl FnMut(u64, u64) + 'a) -> Self {
        self.progress = Some(Box::new(progress));
        self
    }

    /// Opens the model at `path` on `device`.
    ///
    /// # Errors
    /// As [`Microscope::open`].
    pub fn open(self, path: impl AsRef<Path>, device: &Device) -> Result<Microscope> {
        let Self { era, tokenizer, dtype, mut progress } = self;
        let files = ModelFiles::find(path.as_ref())?;
        let progress = progress.as_mut().map(|progress| progress as _);
        let loaded = files.load_with(device, LoadOptions { era, dtype, progress })?;
        let mut model = InterpretableModel::new(loaded.gpt);
        if let Some(dir) = tokenizer.as_ref().or(files.tokenizer.as_ref()) {
            set_tokenizer(&mut model, Some(loaded.kind), [dir, folder(&files)])?;
        }
        let origin = Origin { files, kind: loaded.kind, also_fits: loaded.also_fits };
        Ok(Microscope { origin: Some(origin), ..Microscope::new(model) })
    }
}

impl fmt::Debug for OpenOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenOptions")
            .field("era", &self.era)
            .field("tokenizer", &self.tokenizer)
            .field("dtype", &self.dtype)
            .finish_non_exhaustive()
    }
}

/// The folder of the model.
fn folder(files: &ModelFiles) -> &Path {
    files.weights.parent().unwrap_or(&files.weights)
}

/// Sets the tokenizer in `dir` of the model in `of_model`.
fn set_tokenizer(
    model: &mut InterpretableModel,
    kind: Option<ModelKind>,
    [dir, of_model]: [&Path; 2],
) -> Result<()> {
    let tokenizer = load_tokenizer_for(dir, of_model)?;
    let mismatch =
        |source| Error::TokenizerMismatch { path: dir.to_owned(), source: Box::new(source) };
    // Other families' embeddings are padded; nanochat's configuration has the tokenizer's own size.
    let (found, expected) = (tokenizer.vocab_size(), model.gpt().config().shape.vocab_size);
    if matches!(kind, Some(ModelKind::Nanochat(_))) && found != expected {
        return Err(mismatch(RuntimeError::VocabMismatch { expected, found }));
    }
    model.set_tokenizer(tokenizer).map_err(mismatch)
}
