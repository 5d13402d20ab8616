//! Shuffled batches from the segments of a source.
//!
//! The mixer shuffles halves of two neighbouring segments, which can be produced again from their
//! numbers. A checkpoint therefore contains no shuffle buffer and no random state: everything
//! random at a step comes from a stream with the number of that step.

use nanoscope_corpus::{ActivationBatch, ActivationSource};
use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use rand::seq::SliceRandom;

use crate::TrainError;

/// Shuffled batches of activations, in a different order on each pass over the segments.
///
/// The segments come in random order: a corpus is often several texts one after another, and an SAE
/// that sees one of them only at the end forgets the others. The rows of each segment are shuffled
/// and split in half. Round `r` of batches mixes one half of its segment with the other half of the
/// previous segment, so that half of the rows in memory are older, as in SAELens's buffer
/// (`mix_fraction` 0.5). Unlike a buffer that is continually refilled, round `r` depends only on
/// two segments and the seed: training can resume at any step given only the segments.
#[derive(Debug)]
pub struct Mixer<S> {
    segments: S,
    batch: usize,
    seed: u64,
    segment_order: SegmentOrder,
    round: Round,
}

/// The order of the segments in each pass.
#[derive(Debug)]
struct SegmentOrder {
    segments: u64,
    seed: u64,
    /// The last requested pass, and its order.
    pass: (u64, Vec<u64>),
}

impl SegmentOrder {
    fn new(segments: u64, seed: u64) -> Self {
        Self { segments, seed, pass: (0, Self::order(segments, seed, 0)) }
    }

    /// The segment that is new in round `number`.
    fn segment(&mut self, number: u64) -> u64 {
        let pass = number / self.segments;
        if self.pass.0 != pass {
            self.pass = (pass, Self::order(self.segments, self.seed, pass));
        }
        self.pass.1[(number % self.segments) as usize]
    }

    fn order(segments: u64, seed: u64, pass: u64) -> Vec<u64> {
        let mut order: Vec<u64> = (0..segments).collect();
        order.shuffle(&mut random(seed, 3 * pass + 2));
        order
    }
}

/// Returns a separate stream of random numbers for each purpose and round.
fn random(seed: u64, stream: u64) -> ChaCha8Rng {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(stream);
    random
}

/// Position of the mixer.
#[derive(Debug)]
struct Round {
    number: u64,
    /// The segments of the previous round and of this one, once needed.
    rows: Option<[ActivationBatch; 2]>,
    /// The rows in order: from the previous segment (0) or this one (1), and the index in it.
    order: Vec<(u8, u32)>,
    next: usize,
}

impl<S: ActivationSource> Mixer<S> {
    /// Creates batches of `batch` rows, starting with batch number `next` (from 0).
    ///
    /// # Errors
    /// [`TrainError`] if the source has no rows.
    pub fn new(segments: S, batch: usize, seed: u64, next: u64) -> Result<Self, TrainError> {
        let rows_of = |index| segments.rows(index) as u64;
        let total: u64 = (0..segments.len()).map(rows_of).sum();
        if total == 0 {
            return Err(TrainError::Activations("there are no activations to train on"));
        }
        // Skips round by round, because segments differ in size. Nothing is computed.
        let mut skip = next.saturating_mul(batch as u64);
        let (mut number, mut segment_order) = (0, SegmentOrder::new(segments.len(), seed));
        let mut older = 0;
        loop {
            let rows = segments.rows(segment_order.segment(number));
            let of_round = (older + rows.div_ceil(2)) as u64;
            if skip < of_round {
                break;
            }
            skip -= of_round;
            older = rows / 2;
            number += 1;
        }
        let round = Round { number, rows: None, order: vec![], next: 0 };
        let mut mixer = Self { segments, batch, seed, segment_order, round };
        mixer.round.order = mixer.order(number);
        mixer.round.next = skip as usize;
        Ok(mixer)
    }

    /// Returns the first segment, from which a [`Trainer`](crate::Trainer) is initialised.
    ///
    /// # Errors
    /// [`TrainError`] if they cannot be read or computed.
    pub fn first(&mut self) -> Result<ActivationBatch, TrainError> {
        Ok(self.segments.segment(0)?)
    }

    /// Returns the next batch: `[batch, width]` row-major for each hook point.
    ///
    /// # Errors
    /// [`TrainError`] if a segment cannot be read or computed.
    pub fn next_batch(&mut self) -> Result<Vec<Vec<f32>>, TrainError> {
        let widths: Vec<usize> = self.segments.points().iter().map(|(_, width)| *width).collect();
        let mut out: Vec<Vec<f32>> =
            widths.iter().map(|width| Vec::with_capacity(self.batch * width)).collect();
        let mut wanted = self.batch;
        while wanted > 0 {
            if self.round.next == self.round.order.len() {
                self.next_round()?;
                continue;
            }
            self.load()?;
            let rows = self.round.rows.as_ref().expect("the round was just loaded");
            let order = &self.round.order[self.round.next..];
            let taken = &order[..wanted.min(order.len())];
            for (point, (out, &width)) in out.iter_mut().zip(&widths).enumerate() {
                for &(which, row) in taken {
                    let from = &rows[usize::from(which)].at[point];
                    out.extend_from_slice(&from[row as usize * width..][..width]);
                }
            }
            wanted -= taken.len();
            self.round.next += taken.len();
        }
        Ok(out)
    }

    /// The source of the segments.
    pub fn segments(&self) -> &S {
        &self.segments
    }

    /// Moves to the next round. Its older segment is already in memory.
    fn next_round(&mut self) -> Result<(), TrainError> {
        let number = self.round.number + 1;
        let rows = match self.round.rows.take() {
            Some([_, current]) => Some([current, self.segment(number)?]),
            None => None,
        };
        let order = self.order(number);
        self.round = Round { number, rows, order, next: 0 };
        Ok(())
    }

    fn load(&mut self) -> Result<(), TrainError> {
        if self.round.rows.is_none() {
            let number = self.round.number;
            let before = match number.checked_sub(1) {
                Some(before) => self.segment(before)?,
                None => {
                    ActivationBatch { len: 0, at: vec![Vec::new(); self.segments.points().len()] }
                }
            };
            self.round.rows = Some([before, self.segment(number)?]);
        }
        Ok(())
    }

    fn segment(&mut self, number: u64) -> Result<ActivationBatch, TrainError> {
        let index = self.segment_order.segment(number);
        Ok(self.segments.segment(index)?)
    }

    /// The rows of round `number`, in order.
    fn order(&mut self, number: u64) -> Vec<(u8, u32)> {
        let (older, _) = match number.checked_sub(1) {
            Some(before) => self.halves(before),
            None => (vec![], vec![]),
        };
        let (_, newer) = self.halves(number);
        let mut order: Vec<_> = older.into_iter().map(|row| (0, row)).collect();
        order.extend(newer.into_iter().map(|row| (1, row)));
        order.shuffle(&mut random(self.seed, 3 * number + 1));
        order
    }

    /// Splits the rows of the segment that is new in round `number`: those for the next round, and
    /// those for this one.
    fn halves(&mut self, number: u64) -> (Vec<u32>, Vec<u32>) {
        let rows = self.segments.rows(self.segment_order.segment(number));
        let mut order: Vec<u32> = (0..rows as u32).collect();
        order.shuffle(&mut random(self.seed, 3 * number));
        let own = order.split_off(rows / 2);
        (order, own)
    }
}

#[cfg(test)]
mod tests {
    use nanoscope_corpus::InMemoryActivations;
    use nanoscope_hooks::HookPoint;

    use super::*;

    /// 25 rows of two equal values, the row's number, in segments of 8.
    fn segments() -> InMemoryActivations {
        let rows = (0..25).flat_map(|row| [row as f32; 2]).collect();
        InMemoryActivations::new(HookPoint::ResidPost(0), 2, rows, 8)
    }

    fn batches(next: u64, count: usize) -> Vec<Vec<f32>> {
        let mut mixer = Mixer::new(segments(), 5, 7, next).unwrap();
        (0..count).map(|_| mixer.next_batch().unwrap().remove(0)).collect()
    }

    #[test]
    fn every_row_comes_once_in_each_pass_but_for_the_half_segment_that_waits() {
        // Two passes: 50 rows in 10 batches.
        let mut counts = [0; 25];
        for row in batches(0, 10).concat().chunks(2) {
            assert_eq!(row[0], row[1]);
            counts[row[0] as usize] += 1;
        }

        assert!(counts.iter().all(|count| (1..=3).contains(count)), "{counts:?}");
        assert_eq!(counts.iter().sum::<i32>(), 50);
    }

    #[test]
    fn a_mixer_that_begins_at_any_batch_gives_what_one_from_the_start_gives() {
        let all = batches(0, 40);

        for (next, batch) in all.iter().enumerate() {
            assert_eq!(batches(next as u64, 1)[0], *batch, "batch {next}");
        }
    }

    /// With a corpus of two texts, training must not end on only one of them.
    #[test]
    fn segments_come_in_another_order_in_each_pass() {
        let mut segment_order = SegmentOrder::new(40, 7);
        let mut pass = |pass: u64| -> Vec<u64> {
            (0..40).map(|at| segment_order.segment(40 * pass + at)).collect()
        };
        let (first, second) = (pass(0), pass(1));

        assert_ne!(first, second);
        assert_eq!(pass(0), first);
        for order in [first, second] {
            let late = order[30..].iter().filter(|segment| **segment >= 30).count();
            assert!(late < 6, "{order:?}");
            let mut sorted = order;
            sorted.sort_unstable();
            assert!(sorted.into_iter().eq(0..40));
        }
    }

    #[test]
    fn a_batch_has_rows_of_two_segments_and_another_seed_gives_another_order() {
        let second_round = &batches(0, 3)[2];
        let segments: std::collections::BTreeSet<_> =
            second_round.iter().map(|row| *row as usize / 8).collect();
        assert!(segments.len() > 1, "{second_round:?}");

        let mut other = Mixer::new(super::tests::segments(), 5, 8, 0).unwrap();
        assert_ne!(other.next_batch().unwrap()[0], batches(0, 1)[0]);
    }
}
