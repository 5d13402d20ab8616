use burn::tensor::{Device, Tensor, TensorData};

/// Directions as the rows of a matrix, on the device and on the host.
#[derive(Debug)]
pub(crate) struct DirectionRows {
    /// `[1, directions, width]`
    rows: Tensor<3>,
    host: Vec<f32>,
}

impl DirectionRows {
    /// Takes at least one row; all have the same width.
    pub(crate) fn new<'r>(rows: impl Iterator<Item = &'r [f32]>, device: &Device) -> Self {
        let (mut host, mut count) = (Vec::new(), 0);
        for row in rows {
            host.extend_from_slice(row);
            count += 1;
        }
        let data = TensorData::new(host.clone(), [1, count, host.len() / count]);
        Self { rows: Tensor::from_data(data, device), host }
    }

    /// The number of directions.
    pub(crate) fn count(&self) -> usize {
        let [_, count, _] = self.rows.dims();
        count
    }

    /// The number of elements of each direction.
    pub(crate) fn width(&self) -> usize {
        let [_, _, width] = self.rows.dims();
        width
    }

    /// Stacks the directions of several plans, with zeros where a plan has fewer of them, or none.
    ///
    /// At least one plan has directions. Those of a plan alone are already on the device.
    ///
    /// # Shapes
    /// - output: `[plans, directions, width]`
    pub(crate) fn stack(plans: &[Option<&Self>]) -> Tensor<3> {
        let mut present = plans.iter().flatten();
        let first = present.next().expect("a plan has directions");
        if plans.len() == 1 {
            return first.rows.clone();
        }
        let most = present.fold(first.count(), |most, of| most.max(of.count()));
        let mut all = vec![0.0; plans.len() * most * first.width()];
        for (to, from) in all.chunks_exact_mut(most * first.width()).zip(plans) {
            if let Some(from) = from {
                to[..from.host.len()].copy_from_slice(&from.host);
            }
        }
        let data = TensorData::new(all, [plans.len(), most, first.width()]);
        Tensor::from_data(data, &first.rows.device())
    }
}
