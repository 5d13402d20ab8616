use burn::tensor::Tensor;
use nanoscope_hooks::{HookPoint, HookRouter};

use crate::pass::plan_router::PlanRouter;

/// Follows a separate plan in each row of a pass.
///
/// Rows whose plans read the same hook point are encoded together; each plan changes its own row
/// only.
pub(crate) struct BatchRouter<'r, 'p, 'm> {
    rows: &'r mut [PlanRouter<'p, 'm>],
}

impl<'r, 'p, 'm> BatchRouter<'r, 'p, 'm> {
    /// Takes one router per row, in row order, all for the same number of tokens.
    pub(crate) fn new(rows: &'r mut [PlanRouter<'p, 'm>]) -> Self {
        Self { rows }
    }

    fn read<const D: usize>(&mut self, point: HookPoint, x: &Tensor<D>) {
        let row_of = |row: usize, width: usize| {
            let x = x.clone().slice_dim(0, row..row + 1);
            let rows = x.dims().iter().product::<usize>() / width;
            x.reshape([rows, width])
        };
        let mut wanting = Vec::new();
        for (row, router) in self.rows.iter_mut().enumerate() {
            match router.reader(point) {
                Some((sae, true)) => wanting.push((row, sae)),
                Some((sae, false)) => router.read(point, row_of(row, sae.config().d_in()), None),
                None => {}
            }
        }
        let Some(&(_, sae)) = wanting.first() else { return };
        let width = sae.config().d_in();
        let all = if wanting.len() == self.rows.len() {
            let rows = x.dims().iter().product::<usize>() / width;
            x.clone().reshape([rows, width])
        } else {
            Tensor::cat(wanting.iter().map(|&(row, _)| row_of(row, width)).collect(), 0)
        };
        let features = sae.encode_sparse(all);
        for (at, (row, _)) in wanting.iter().copied().enumerate() {
            let own = match &features {
                Ok(features) => {
                    let tokens = features.rows() / wanting.len();
                    Ok(features.slice(at * tokens, (at + 1) * tokens))
                }
                // Alone, only the row fails whose activations cannot be encoded.
                Err(_) => sae.encode_sparse(row_of(row, width)),
            };
            self.rows[row].read(point, row_of(row, width), Some(own));
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
