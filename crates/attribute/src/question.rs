use nanoscope_hooks::HookPoint;
use nanoscope_runtime::InterpretableModel;

use crate::error::AttributeError;
use crate::metric::{Metric, Readout};
use crate::source::Source;

/// The question that an [`Attribution`](crate::Attribution) answers: which features made this number?
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    tokens: Vec<u32>,
    metric: Metric,
    position: Option<usize>,
    sources: Option<Vec<HookPoint>>,
}

/// A question checked against a model.
pub(crate) struct Checked<'m> {
    /// The tokens up to the position; later ones cannot matter.
    pub(crate) tokens: Vec<u32>,
    pub(crate) readout: Readout<'m>,
    /// In execution order.
    pub(crate) sources: Vec<Source<'m>>,
}

impl Question {
    /// Asks about `metric` after the last of `tokens`, attributed to every SAE that can have an effect on it.
    pub fn new(tokens: Vec<u32>, metric: Metric) -> Self {
        Self { tokens, metric, position: None, sources: None }
    }

    /// Asks about what is predicted after the token at `position`, counted from 0. A metric that is a feature has
    /// its own position, and ignores this one.
    pub fn after(self, position: usize) -> Self {
        Self { position: Some(position), ..self }
    }

    /// Attributes to the SAEs that read `hooks` alone.
    pub fn sources(self, hooks: impl IntoIterator<Item = HookPoint>) -> Self {
        Self { sources: Some(hooks.into_iter().collect()), ..self }
    }

    pub(crate) fn metric(&self) -> Metric {
        self.metric
    }

    /// Checks the question against `model`.
    pub(crate) fn check<'m>(
        &self,
        model: &'m InterpretableModel,
    ) -> Result<Checked<'m>, AttributeError> {
        let last = self.tokens.len().checked_sub(1).ok_or(AttributeError::NoTokens)?;
        let readout = self.metric.check(model)?;
        let position = match self.metric {
            Metric::Feature { position, .. } => position,
            _ => self.position.unwrap_or(last),
        };
        if position > last {
            return Err(AttributeError::Position { position, len: self.tokens.len() });
        }
        let target = readout.hook();
        let hooks = match &self.sources {
            Some(hooks) => hooks.clone(),
            None => {
                let comes_before = |&hook: &HookPoint| {
                    target.is_none_or(|target| model.write_point(hook) < target)
                };
                model.saes().keys().copied().filter(comes_before).collect()
            }
        };
        if hooks.is_empty() {
            return Err(AttributeError::NoSources { target });
        }
        let mut sources = Vec::with_capacity(hooks.len());
        for hook in hooks {
            let (sae, write) = (model.sae(hook)?, model.write_point(hook));
            if let Some(target) = target
                && write >= target
            {
                return Err(AttributeError::Order { target, source_hook: write });
            }
            sources.push(Source { hook, write, sae });
        }
        sources.sort_by_key(|source| source.hook);
        if let Some(pair) = sources.windows(2).find(|pair| pair[0].hook == pair[1].hook) {
            return Err(AttributeError::Duplicate { hook: pair[0].hook });
        }
        Ok(Checked { tokens: self.tokens[..=position].to_vec(), readout, sources })
    }
}
