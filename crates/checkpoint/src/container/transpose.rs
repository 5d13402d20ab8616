//! A matrix that is read in parts and transposed on the way.

use burn::tensor::TensorData;

use crate::container::finite::first_not_finite;

/// Transposes a matrix as its numbers arrive, so that only one copy of it is in memory.
pub(crate) struct Transposer {
    rows: usize,
    columns: usize,
    out: Vec<f32>,
    /// Count of the numbers received.
    done: usize,
    not_finite: Option<usize>,
}

impl Transposer {
    pub(crate) fn new([rows, columns]: [usize; 2]) -> Self {
        Self { rows, columns, out: vec![0.0; rows * columns], done: 0, not_finite: None }
    }

    /// Adds the next numbers, in the file's order.
    pub(crate) fn push(&mut self, mut values: &[f32]) {
        if self.not_finite.is_none() {
            self.not_finite = first_not_finite(values).map(|at| self.done + at);
        }
        while !values.is_empty() {
            let (row, column) = (self.done / self.columns, self.done % self.columns);
            let whole = values.len() / self.columns;
            let took = if column == 0 && whole > 0 {
                // Column by column, so that writes are contiguous.
                for column in 0..self.columns {
                    let out = &mut self.out[column * self.rows + row..][..whole];
                    for (at, out) in out.iter_mut().enumerate() {
                        *out = values[at * self.columns + column];
                    }
                }
                whole * self.columns
            } else {
                let rest = (self.columns - column).min(values.len());
                for (at, &value) in values[..rest].iter().enumerate() {
                    self.out[(column + at) * self.rows + row] = value;
                }
                rest
            };
            self.done += took;
            values = &values[took..];
        }
    }

    /// Returns the transposed matrix.
    ///
    /// # Errors
    /// The index, in the file's order, of a number that is not finite.
    pub(crate) fn finish(self, expected: &[usize]) -> Result<TensorData, usize> {
        match self.not_finite {
            Some(at) => Err(at),
            None => Ok(TensorData::new(self.out, expected.to_vec())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matrix_is_transposed_whatever_the_size_of_the_parts() {
        for part in [1, 2, 3, 5, 7, 14, 20, 35] {
            let mut transposer = Transposer::new([5, 7]);
            let values: Vec<f32> = (0..35_u8).map(f32::from).collect();

            values.chunks(part).for_each(|values| transposer.push(values));

            let out = transposer.finish(&[7, 5]).unwrap().try_to_vec::<f32>().unwrap();
            for (row, column) in (0..5).flat_map(|row| (0..7).map(move |column| (row, column))) {
                assert_eq!(out[column * 5 + row], values[row * 7 + column], "parts of {part}");
            }
        }
    }

    #[test]
    fn a_number_that_is_not_finite_is_reported_by_its_index_in_the_file() {
        let mut transposer = Transposer::new([2, 3]);

        transposer.push(&[0.0, 1.0]);
        transposer.push(&[2.0, f32::NAN, f32::INFINITY, 5.0]);

        assert_eq!(transposer.finish(&[3, 2]).unwrap_err(), 3);
    }
}
