use std::ops::Range;

use burn::tensor::{Int, Tensor, TensorData};
use nanoscope_hooks::{HookPoint, HookRouter};
use nanoscope_kernels::{has_kernels, read_together};
use nanoscope_sae::{Encoding, Sae, SaeError, SparseFeatures};

use crate::pass::change::{Arrived, UnreadLengths, change};
use crate::pass::plan_pass::{Need, PlanPass};

/// Follows one plan in all sequences of a pass, or a plan of its own in each.
///
/// Tokens whose plans read the same hook point are encoded together, and all that change at a hook point are
/// changed together, each by its own plan.
pub(crate) struct PassRouter<'r, 'p, 'm> {
    plans: &'r mut [PlanPass<'p, 'm>],
    /// The activations that interventions read later.
    arrived: Arrived,
    /// Features that nothing in the pass needs, and the lengths of activations: read after it, together.
    encodings: Vec<UnreadEncoding<'m>>,
    lengths: Vec<UnreadLengths>,
}

/// The activations at a hook point whose features are selected at the end of the pass.
struct UnreadEncoding<'m> {
    read: ReadTogether<'m>,
    encoding: Encoding<'m>,
}

/// The plans that read a hook point.
struct ReadTogether<'m> {
    point: HookPoint,
    sae: &'m Sae,
    /// The indices of the plans.
    plans: Vec<usize>,
    /// The activations of their tokens, `[tokens, d_in]`.
    x: Tensor<2>,
}

/// The largest number of products with an encoder that are kept until the end of a pass.
const MAX_KEPT: usize = 1 << 22;

impl<'r, 'p, 'm> PassRouter<'r, 'p, 'm> {
    /// Takes a plan for each sequence, in their order, or one for all of them.
    pub(crate) fn new(plans: &'r mut [PlanPass<'p, 'm>]) -> Self {
        Self { plans, arrived: Arrived::new(), encodings: Vec::new(), lengths: Vec::new() }
    }

    /// Takes the tensors whose numbers [`receive`](Self::receive) needs, in this order.
    pub(crate) fn take_unread(&mut self) -> Vec<Tensor<1>> {
        let encodings = self.encodings.iter_mut().flat_map(|unread| unread.encoding.take_tensors());
        let lengths = self.lengths.iter().map(UnreadLengths::tensor);
        encodings.chain(lengths).collect()
    }

    /// Takes a vector of `numbers` for each tensor of [`take_unread`](Self::take_unread).
    pub(crate) fn receive(&mut self, numbers: &mut impl Iterator<Item = Vec<f32>>) {
        for UnreadEncoding { read, encoding } in std::mem::take(&mut self.encodings) {
            self.share(&read, encoding.finish_with(numbers));
        }
        for unread in std::mem::take(&mut self.lengths) {
            let lengths = numbers.next().expect("there is a vector for each tensor");
            unread.report(self.plans, &lengths);
        }
    }

    /// Reads what the pass left on the device. Waits for it.
    pub(crate) fn settle(&mut self) {
        let numbers = read_together(self.take_unread());
        self.receive(&mut numbers.into_iter());
    }

    /// Encodes the activations at `point` for the plans that read it.
    ///
    /// # Shapes
    /// - `x`: `[tokens, d_in]`
    fn read(&mut self, point: HookPoint, x: Tensor<2>) {
        let mut sae = None;
        let (mut soonest, mut keeps, mut plans) = (Need::Never, false, Vec::new());
        for (at, plan) in self.plans.iter().enumerate() {
            let Some((reader, need)) = plan.reader(point) else { continue };
            sae = Some(reader.sae);
            soonest = soonest.max(need);
            keeps |= reader.keeps_activation;
            if need > Need::Never {
                plans.push(at);
            }
        }
        let Some(sae) = sae else { return };
        if keeps {
            self.arrived.insert(point, x.clone());
        }
        if plans.is_empty() {
            return;
        }
        let x = if plans.len() == self.plans.len() { x } else { self.rows_of(&plans, x) };
        let read = ReadTogether { point, sae, plans, x: x.clone() };
        if soonest == Need::AtEnd && is_read_at_end(&x, sae) {
            self.encodings.push(UnreadEncoding { read, encoding: sae.begin_encoding(x) });
        } else {
            self.share(&read, sae.encode_sparse(x));
        }
    }

    /// The number of tokens of all plans.
    fn tokens(&self) -> usize {
        self.plans.iter().map(PlanPass::tokens).sum()
    }

    /// Selects the rows of `x`, `[tokens, d_in]`, that are tokens of `plans`.
    fn rows_of(&self, plans: &[usize], x: Tensor<2>) -> Tensor<2> {
        let tokens = self.plans[0].tokens();
        let rows = plans.iter().flat_map(|plan| plan * tokens..(plan + 1) * tokens);
        let rows: Vec<i32> = rows.map(|row| row as i32).collect();
        let data = TensorData::new(rows, [plans.len() * tokens]);
        let rows = Tensor::<1, Int>::from_data(data, &x.device());
        x.select(0, rows)
    }

    /// Gives each plan the features of its own tokens.
    fn share(&mut self, read: &ReadTogether<'m>, features: Result<SparseFeatures, SaeError>) {
        let ReadTogether { point, sae, plans, x } = read;
        let tokens = self.plans[0].tokens();
        if let [only] = plans[..] {
            return self.plans[only].store(*point, features);
        }
        for (at, &plan) in plans.iter().enumerate() {
            let Range { start, end } = at * tokens..(at + 1) * tokens;
            let own = match &features {
                Ok(features) => Ok(features.slice(start, end)),
                // Alone, only the plan fails whose activations cannot be encoded.
                Err(_) => sae.encode_sparse(x.clone().slice_dim(0, start..end)),
            };
            self.plans[plan].store(*point, own);
        }
    }
}

/// Returns whether features that are needed at the end of a pass are encoded then: where reading waits for a
/// device, and the products are not too many to keep.
fn is_read_at_end(x: &Tensor<2>, sae: &Sae) -> bool {
    !has_kernels(x) && x.dims()[0] * sae.config().d_sae() <= MAX_KEPT
}

impl HookRouter for PassRouter<'_, '_, '_> {
    fn wants(&self, point: HookPoint) -> bool {
        self.plans.iter().any(|plan| plan.wants(point))
    }

    fn route<const D: usize>(&mut self, point: HookPoint, x: Tensor<D>) -> Tensor<D> {
        if !self.wants(point) {
            return x;
        }
        let (dims, tokens) = (x.dims(), self.tokens());
        let flat = x.clone().reshape([tokens, dims.iter().product::<usize>() / tokens]);
        self.read(point, flat.clone());
        let (changed, lengths) = change(self.plans, point, flat, &self.arrived);
        self.lengths.extend(lengths);
        changed.map_or(x, |changed| changed.reshape(dims))
    }
}
