use burn::tensor::Tensor;
use nanoscope_hooks::{HookPoint, HookRouter};
use nanoscope_sae::{Encoding, Sae, SaeError, SparseFeatures};

use crate::pass::plan_router::{Need, PlanRouter, is_read_at_end};

/// Follows a separate plan in each row of a pass.
///
/// Rows whose plans read the same hook point are encoded together; each plan changes its own row
/// only.
pub(crate) struct BatchRouter<'r, 'p, 'm> {
    rows: &'r mut [PlanRouter<'p, 'm>],
    encodings: Vec<SharedEncoding<'m>>,
}

/// Activations of several rows at a hook point that are encoded together at the end of the pass.
struct SharedEncoding<'m> {
    point: HookPoint,
    sae: &'m Sae,
    /// The rows and their activations, `[tokens, d_in]` each.
    members: Vec<(usize, Tensor<2>)>,
    encoding: Encoding<'m>,
}

impl<'r, 'p, 'm> BatchRouter<'r, 'p, 'm> {
    /// Takes one router per row, in row order, all for the same number of tokens.
    pub(crate) fn new(rows: &'r mut [PlanRouter<'p, 'm>]) -> Self {
        Self { rows, encodings: Vec::new() }
    }

    /// Takes the tensors whose numbers [`receive`](Self::receive) needs, in this order.
    pub(crate) fn take_unread(&mut self) -> Vec<Tensor<1>> {
        let shared = self.encodings.iter_mut().flat_map(|shared| shared.encoding.take_tensors());
        let mut unread: Vec<_> = shared.collect();
        unread.extend(self.rows.iter_mut().flat_map(PlanRouter::take_unread));
        unread
    }

    /// Takes a vector of `numbers` for each tensor of [`take_unread`](Self::take_unread).
    pub(crate) fn receive(&mut self, numbers: &mut impl Iterator<Item = Vec<f32>>) {
        for shared in std::mem::take(&mut self.encodings) {
            let SharedEncoding { point, sae, members, encoding } = shared;
            self.share(point, sae, members, &encoding.finish_with(numbers));
        }
        self.rows.iter_mut().for_each(|row| row.receive(numbers));
    }

    fn read<const D: usize>(&mut self, point: HookPoint, x: &Tensor<D>) {
        let mut members = Vec::new();
        let mut reader = None;
        for (row, router) in self.rows.iter_mut().enumerate() {
            let Some((sae, need)) = router.reader(point) else { continue };
            let own = x.clone().slice_dim(0, row..row + 1);
            let width = sae.config().d_in();
            let tokens = own.dims().iter().product::<usize>() / width;
            let own = own.reshape([tokens, width]);
            router.arrive(point, own.clone());
            if need > Need::Never {
                let soonest = reader.map_or(need, |(_, soonest): (_, Need)| soonest.max(need));
                reader = Some((sae, soonest));
                members.push((row, own));
            }
        }
        let Some((sae, need)) = reader else { return };
        let all = if members.len() == self.rows.len() {
            let width = sae.config().d_in();
            let rows = x.dims().iter().product::<usize>() / width;
            x.clone().reshape([rows, width])
        } else {
            Tensor::cat(members.iter().map(|(_, own)| own.clone()).collect(), 0)
        };
        if need == Need::AtEnd && is_read_at_end(&all, sae) {
            let encoding = sae.begin_encoding(all);
            self.encodings.push(SharedEncoding { point, sae, members, encoding });
        } else {
            self.share(point, sae, members, &sae.encode_sparse(all));
        }
    }

    /// Gives each row its own of the features of all `members`.
    fn share(
        &mut self,
        point: HookPoint,
        sae: &Sae,
        members: Vec<(usize, Tensor<2>)>,
        features: &Result<SparseFeatures, SaeError>,
    ) {
        let mut from = 0;
        for (row, own) in members {
            let tokens = own.dims()[0];
            let features = match features {
                Ok(features) => Ok(features.slice(from, from + tokens)),
                // Alone, only the row fails whose activations cannot be encoded.
                Err(_) => sae.encode_sparse(own),
            };
            from += tokens;
            self.rows[row].store(point, features);
        }
    }
}

impl HookRouter for BatchRouter<'_, '_, '_> {
    fn wants(&self, point: HookPoint) -> bool {
        self.rows.iter().any(|row| row.wants(point))
    }

    fn route<const D: usize>(&mut self, point: HookPoint, x: Tensor<D>) -> Tensor<D> {
        if let [only] = &mut *self.rows {
            return only.route(point, x);
        }
        if !self.wants(point) {
            return x;
        }
        self.read(point, &x);
        let change = |(row, router): (usize, &mut PlanRouter<'_, '_>)| {
            let own = x.clone().slice_dim(0, row..row + 1);
            router.change(point, &own)
        };
        let changed: Vec<_> = self.rows.iter_mut().enumerate().map(change).collect();
        if changed.iter().all(Option::is_none) {
            return x;
        }
        let or_unchanged = |(row, changed): (usize, Option<Tensor<D>>)| {
            changed.unwrap_or_else(|| x.clone().slice_dim(0, row..row + 1))
        };
        Tensor::cat(changed.into_iter().enumerate().map(or_unchanged).collect(), 0)
    }
}
