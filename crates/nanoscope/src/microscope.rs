use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use nanoscope_checkpoint::{Labels, ModelFiles, ModelKind};
use nanoscope_hooks::HookPoint;
use nanoscope_index::{FeatureNames, SharedText};
use nanoscope_runtime::{Generation, InterpretableModel, Plan, RunOutput, Sampling, Step};
use nanoscope_tokenizer::{TokenId, Tokenizer};
use nanoscope_transformer::{Era, TokenBatch};

use crate::error::{Error, Result};

/// A model with its tokenizer, its SAEs and the labels of their features.
///
/// ```no_run
/// use nanoscope::{Microscope, Plan, Sampling, device};
///
/// # fn main() -> nanoscope::Result<()> {
/// let scope = Microscope::open("models/demo", &device("auto")?)?.with_saes(["models/demo/saes"])?;
/// let plan = Plan::new().track_all();
/// for step in scope.generate("Once upon a time", &plan, &Sampling::greedy(20))? {
///     println!("{:?} {:?}", step.text, scope.strongest(&step, 3)?);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Microscope {
    pub(crate) model: InterpretableModel,
    pub(crate) labels: BTreeMap<HookPoint, Labels>,
    pub(crate) names: FeatureNames,
    pub(crate) origin: Option<Origin>,
    /// The file of each SAE that was loaded, without links.
    pub(crate) sae_files: BTreeMap<HookPoint, PathBuf>,
    pub(crate) centred: bool,
    pub(crate) warnings: Vec<String>,
}

/// The files of a model, and how they were read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The files.
    pub files: ModelFiles,
    /// The program whose function the model computes.
    pub kind: ModelKind,
    /// Eras of nanochat with the same weights and another function, if no era was given and the files leave it
    /// open.
    pub also_fits: Vec<Era>,
}

/// The name of a feature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeatureName {
    /// A person's label, or an automatic name such as `fires on ·dog · promotes ·wagged`.
    pub text: SharedText,
    /// True if no person gave it.
    pub is_automatic: bool,
}

/// The parts of a microscope, from [`Microscope::into_parts`].
#[derive(Debug)]
pub struct MicroscopeParts {
    /// The model with its SAEs.
    pub model: InterpretableModel,
    /// The labels per SAE.
    pub labels: BTreeMap<HookPoint, Labels>,
    /// The automatic names of the features, with their indexes.
    pub names: FeatureNames,
}

/// An active feature with its name.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedFeature {
    /// The hook point of its SAE.
    pub hook: HookPoint,
    /// Its index in the SAE.
    pub index: u32,
    /// Its activation.
    pub activation: f32,
    /// Its name; `None` for features beyond those that are named in fractions of a second.
    pub name: Option<FeatureName>,
}

impl Microscope {
    /// A microscope on a model that is already in memory, without labels.
    pub fn new(model: InterpretableModel) -> Self {
        Self {
            model,
            labels: BTreeMap::new(),
            names: FeatureNames::new(),
            origin: None,
            sae_files: BTreeMap::new(),
            centred: false,
            warnings: Vec::new(),
        }
    }

    /// A second microscope on the same model, with its tokenizer and without SAEs. The weights are shared.
    pub fn without_saes(&self) -> Self {
        let mut model = InterpretableModel::new(self.model.gpt().clone());
        if let Some(tokenizer) = self.model.tokenizer() {
            model.set_tokenizer(tokenizer.clone()).expect("the same model accepted it");
        }
        Self { origin: self.origin.clone(), centred: self.centred, ..Self::new(model) }
    }

    /// The model and its SAEs.
    pub fn model(&self) -> &InterpretableModel {
        &self.model
    }

    /// The files that the model was opened from; `None` if it was built in memory.
    pub fn origin(&self) -> Option<&Origin> {
        self.origin.as_ref()
    }

    /// True if the mean over the channels is absent from the residual stream, because an SAE was
    /// trained on that stream. Logits and activations inside of the sublayers are the same.
    pub fn is_centred(&self) -> bool {
        self.centred
    }

    /// Signs that SAEs were trained on another model, for people.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The labels per SAE.
    pub fn labels(&self) -> &BTreeMap<HookPoint, Labels> {
        &self.labels
    }

    /// The labels per SAE, to change them.
    pub fn labels_mut(&mut self) -> &mut BTreeMap<HookPoint, Labels> {
        &mut self.labels
    }

    /// The label of a feature, if it has one.
    pub fn label(&self, hook: HookPoint, feature: u32) -> Option<&str> {
        self.labels.get(&hook)?.get(feature)
    }

    /// The automatic names of the features, with the indexes of the SAEs.
    pub fn names(&self) -> &FeatureNames {
        &self.names
    }

    /// The automatic names of the features, to add an index.
    pub fn names_mut(&mut self) -> &mut FeatureNames {
        &mut self.names
    }

    /// The name of a feature: its label, or an automatic name. `None` if an automatic one was not computed
    /// yet; see [`FeatureNames::prepare`].
    pub fn name(&self, hook: HookPoint, feature: u32) -> Option<FeatureName> {
        if let Some(label) = self.label(hook, feature) {
            let of_sae = self.labels.get(&hook);
            let is_automatic = of_sae.is_some_and(|labels| labels.is_automatic(feature));
            return Some(FeatureName { text: label.into(), is_automatic });
        }
        let text = self.names.get(hook, feature)?;
        Some(FeatureName { text, is_automatic: true })
    }

    /// Computes the automatic names of `features` that have neither a label nor a name.
    ///
    /// # Errors
    /// [`Error::Runtime`] if the model lacks the SAE or the SAE a feature.
    pub fn prepare_names(
        &self,
        hook: HookPoint,
        features: impl IntoIterator<Item = u32>,
    ) -> Result<()> {
        let unlabelled =
            features.into_iter().filter(|&feature| self.label(hook, feature).is_none());
        Ok(self.names.prepare(&self.model, hook, unlabelled)?)
    }

    /// The tokenizer.
    ///
    /// # Errors
    /// [`Error::NoTokenizer`].
    pub fn tokenizer(&self) -> Result<&Tokenizer> {
        self.model.tokenizer().ok_or(Error::NoTokenizer)
    }

    /// Encodes `text` with `<|bos|>` before it.
    ///
    /// # Errors
    /// [`Error::NoTokenizer`], [`Error::Tokenizer`].
    pub fn encode(&self, text: &str) -> Result<Vec<TokenId>> {
        Ok(self.tokenizer()?.encode_with_bos(text)?)
    }

    /// Runs `text` once, after `<|bos|>`.
    ///
    /// # Errors
    /// As [`encode`](Self::encode), and [`Error::Runtime`] if the plan cannot be followed.
    pub fn run(&self, text: &str, plan: &Plan) -> Result<RunOutput> {
        let tokens = TokenBatch::new(&[self.encode(text)?])?;
        Ok(self.model.run(&tokens, plan)?)
    }

    /// Generates text after `prompt`, which follows `<|bos|>`, a token at a time.
    ///
    /// # Errors
    /// As [`encode`](Self::encode), and [`Error::Runtime`] if the plan cannot be followed or a sampling
    /// parameter is out of its range.
    pub fn generate(
        &self,
        prompt: &str,
        plan: &Plan,
        sampling: &Sampling,
    ) -> Result<Generation<'_>> {
        Ok(self.model.generate(&self.encode(prompt)?, plan, sampling)?)
    }

    /// The `n` strongest features of each tracked SAE on the token of `step`, with their names.
    ///
    /// # Errors
    /// [`Error::Runtime`] if the step is of another model, which has other SAEs.
    pub fn strongest(&self, step: &Step, n: usize) -> Result<Vec<NamedFeature>> {
        let mut named = Vec::new();
        for (&hook, features) in &step.features {
            let strongest = features.strongest(0, n);
            self.prepare_names(hook, strongest.iter().map(|&(index, _)| index))?;
            let feature = |(index, activation)| NamedFeature {
                hook,
                index,
                activation,
                name: self.name(hook, index),
            };
            named.extend(strongest.into_iter().map(feature));
        }
        Ok(named)
    }

    /// The model with its SAEs, the labels and the names.
    pub fn into_parts(self) -> MicroscopeParts {
        let Self { model, labels, names, .. } = self;
        MicroscopeParts { model, labels, names }
    }
}

impl fmt::Display for NamedFeature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} #{} {:.1}", self.hook, self.index, self.activation)?;
        self.name.as_ref().map_or(Ok(()), |name| write!(f, " {}", name.text))
    }
}
