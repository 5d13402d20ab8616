//! Stands in for the runtime's batch until it is there: one generation after another.

use nanoscope_runtime::{Generation, InterpretableModel, Plan, RuntimeError, Sampling, Step};

pub(crate) struct Batch<'m> {
    model: &'m InterpretableModel,
}

pub(crate) enum Progress {
    #[allow(dead_code)]
    Prompt,
    Step(Step),
    End,
}

impl<'m> Batch<'m> {
    pub(crate) fn new(model: &'m InterpretableModel, _prefix_bytes: usize) -> Self {
        Self { model }
    }

    #[allow(clippy::unused_self)]
    pub(crate) fn begin(
        &mut self,
        prompt: &[u32],
        plan: &Plan,
        sampling: &Sampling,
    ) -> Result<Generation<'m>, RuntimeError> {
        self.model.generate(prompt, plan, sampling)
    }

    #[allow(clippy::unused_self)]
    pub(crate) fn step(&mut self, generations: &mut [&mut Generation<'m>]) -> Vec<Progress> {
        let one = |generation: &mut &mut Generation<'m>| match generation.next() {
            Some(step) => Progress::Step(step),
            None => Progress::End,
        };
        generations.iter_mut().map(one).collect()
    }
}
