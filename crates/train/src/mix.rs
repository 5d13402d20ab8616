//! Shuffled batches from segments.

use nanoscope_corpus::{Rows, Segments};
use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use rand::seq::SliceRandom;

use crate::TrainError;

/// Batches of activations, shuffled across neighbouring segments; after the last segment the first
/// comes again, in another order.
///
/// Each segment's rows are shuffled and halved. Round `r` of batches has the first half of segment
/// `r` and the second half of the one before, shuffled again, so that half of what is in memory is
/// always older, as in SAELens's buffer (`mix_fraction` 0.5). Unlike in a buffer that is filled up
/// again and again, round `r` follows from two segments and the seed: a training goes on at any
/// step with nothing but the segments.
#[derive(Debug)]
pub struct Mixer<S> {
    segments: S,
    batch: usize,
    seed: u64,
    round: Round,
}

/// Where the mixer is.
#[derive(Debug)]
struct Round {
    number: u64,
    /// The segments before and of this round, once they are needed.
    rows: Option<[Rows; 2]>,
    /// Which rows come, in order: of the segment before (0) or of this one (1), and their place.
    order: Vec<(u8, u32)>,
    next: usize,
}

impl<S: Segments> Mixer<S> {
    /// Batches of `batch` rows, the next one being number `next` (from 0).
    ///
    /// # Errors
    /// [`TrainError`] if all segments together have no row.
    pub fn new(segments: S, batch: usize, seed: u64, next: u64) -> Result<Self, TrainError> {
        let rows_of = |index| segments.rows(index) as u64;
        let total: u64 = (0..segments.len()).map(rows_of).sum();
        if total == 0 {
            return Err(TrainError::Activations("are none"));
        }
        // Whole passes over the segments are skipped at once: each gives `total` rows, whichever
        // the round that it begins with.
        let mut skip = next.saturating_mul(batch as u64);
        let first_pass = Self::before(&segments, segments.len());
        let mut number = 0;
        if skip >= first_pass {
            let passes = (skip - first_pass) / total;
            number = segments.len() * (1 + passes);
            skip -= first_pass + passes * total;
        }
        loop {
            let rows = Self::rows(&segments, number);
            if skip < rows {
                break;
            }
            skip -= rows;
            number += 1;
        }
        let mut mixer = Self {
            segments,
            batch,
            seed,
            round: Round { number, rows: None, order: vec![], next: 0 },
        };
        mixer.round.order = mixer.order(number);
        mixer.round.next = skip as usize;
        Ok(mixer)
    }

    /// Some rows from the start of the corpus, for a [`Trainer`](crate::Trainer)'s start.
    ///
    /// # Errors
    /// [`TrainError`] if they cannot be read or computed.
    pub fn first(&mut self) -> Result<Rows, TrainError> {
        Ok(self.segments.segment(0)?)
    }

    /// The next batch, for each hook point `[batch, width]` row-major.
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
                self.turn()?;
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

    /// The segments.
    pub fn segments(&self) -> &S {
        &self.segments
    }

    /// Goes on to the next round. Its older segment is in memory already.
    fn turn(&mut self) -> Result<(), TrainError> {
        let number = self.round.number + 1;
        let rows = match self.round.rows.take() {
            Some([_, current]) => Some([current, self.segment(number)?]),
            None => None,
        };
        self.round = Round { number, rows, order: self.order(number), next: 0 };
        Ok(())
    }

    fn load(&mut self) -> Result<(), TrainError> {
        if self.round.rows.is_none() {
            let number = self.round.number;
            let before = match number.checked_sub(1) {
                Some(before) => self.segment(before)?,
                None => Rows { len: 0, at: vec![Vec::new(); self.segments.points().len()] },
            };
            self.round.rows = Some([before, self.segment(number)?]);
        }
        Ok(())
    }

    fn segment(&mut self, number: u64) -> Result<Rows, TrainError> {
        let index = number % self.segments.len();
        Ok(self.segments.segment(index)?)
    }

    /// Which rows round `number` has, in order.
    fn order(&self, number: u64) -> Vec<(u8, u32)> {
        let (older, _) = match number.checked_sub(1) {
            Some(before) => self.halves(before),
            None => (vec![], vec![]),
        };
        let (_, newer) = self.halves(number);
        let mut order: Vec<_> = older.into_iter().map(|row| (0, row)).collect();
        order.extend(newer.into_iter().map(|row| (1, row)));
        order.shuffle(&mut self.random(2 * number + 1));
        order
    }

    /// The rows of the segment that round `number` begins: those for the round after it, and those
    /// for itself.
    fn halves(&self, number: u64) -> (Vec<u32>, Vec<u32>) {
        let rows = self.segments.rows(number % self.segments.len());
        let mut order: Vec<u32> = (0..rows as u32).collect();
        order.shuffle(&mut self.random(2 * number));
        let own = order.split_off(rows / 2);
        (order, own)
    }

    fn random(&self, stream: u64) -> ChaCha8Rng {
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        random.set_stream(stream);
        random
    }

    /// Rows of round `number`.
    fn rows(segments: &S, number: u64) -> u64 {
        let of = |number: u64| segments.rows(number % segments.len());
        let older = number.checked_sub(1).map_or(0, |before| of(before) / 2);
        (older + of(number).div_ceil(2)) as u64
    }

    /// Rows of all rounds before round `number`.
    fn before(segments: &S, number: u64) -> u64 {
        (0..number).map(|round| Self::rows(segments, round)).sum()
    }
}

#[cfg(test)]
mod tests {
    use nanoscope_corpus::InMemory;
    use nanoscope_hooks::HookPoint;

    use super::*;

    /// 25 rows, each of its own number twice, in segments of 8.
    fn segments() -> InMemory {
        let rows = (0..25).flat_map(|row| [row as f32; 2]).collect();
        InMemory::new(HookPoint::ResidPost(0), 2, rows, 8)
    }

    fn batches(next: u64, count: usize) -> Vec<Vec<f32>> {
        let mut mixer = Mixer::new(segments(), 5, 7, next).unwrap();
        (0..count).map(|_| mixer.next_batch().unwrap().remove(0)).collect()
    }

    #[test]
    fn every_row_comes_once_in_each_pass_but_for_the_half_segment_that_waits() {
        // Two passes and a little: 50 rows in 10 batches.
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
