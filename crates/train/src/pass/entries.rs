//! A few entries of a matrix `[rows, d_sae]`, by row and by feature.

use std::ops::Range;

use pulp::Arch;
use rayon::prelude::*;

/// Rows that a thread handles at a time. It does not follow from the number of threads, on which no
/// result depends.
pub(super) const CHUNK_ROWS: usize = 128;

/// Features between two comparisons in [`Entries::above`].
pub(super) const BLOCK: usize = 16;

/// Numbers of some features of each row, ascending by feature.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entries {
    d_sae: usize,
    /// [`CHUNK_ROWS`] rows each, but for the last.
    chunks: Vec<Chunk>,
}

#[derive(Debug, Clone, PartialEq, Default)]
struct Chunk {
    /// For each row, the number of entries up to its end.
    ends: Vec<usize>,
    entries: Vec<(u32, f32)>,
}

impl Entries {
    /// Creates entries without rows.
    pub(super) fn new(d_sae: usize) -> Self {
        Self { d_sae, chunks: Vec::new() }
    }

    /// Applies `keep` to each row, and takes the entries that it pushes. `start` gives what one
    /// thread's calls share.
    ///
    /// # Shapes
    /// - `pre`: `[rows, d_sae]` row-major
    pub(super) fn by_row<S>(
        pre: &[f32],
        d_sae: usize,
        start: impl Fn() -> S + Sync + Send,
        keep: impl Fn(&mut S, &[f32], &mut Vec<(u32, f32)>) + Sync + Send,
    ) -> Self {
        let chunks = pre.par_chunks(CHUNK_ROWS * d_sae).map_init(start, |state, rows| {
            let mut chunk = Chunk::default();
            for row in rows.chunks_exact(d_sae) {
                keep(state, row, &mut chunk.entries);
                chunk.ends.push(chunk.entries.len());
            }
            chunk
        });
        Self { d_sae, chunks: chunks.collect() }
    }

    /// Takes the entries for which `counts(feature, value)` holds. It must not hold for an entry
    /// below the floor of its block of [`BLOCK`] features, so that most blocks are passed over with
    /// one comparison.
    ///
    /// # Shapes
    /// - `pre`: `[rows, d_sae]` row-major
    pub(super) fn above(
        pre: &[f32],
        d_sae: usize,
        floor: impl Fn(usize) -> f32 + Sync + Send,
        counts: impl Fn(usize, f32) -> bool + Sync + Send,
    ) -> Self {
        let arch = Arch::new();
        Self::by_row(
            pre,
            d_sae,
            || (),
            |(), row, kept| {
                arch.dispatch(|| {
                    for (block, values) in row.chunks(BLOCK).enumerate() {
                        let floor = floor(block);
                        if !values.iter().fold(false, |any, value| any | value.ge(&floor)) {
                            continue;
                        }
                        for (feature, &value) in (block * BLOCK..).zip(values) {
                            if counts(feature, value) {
                                kept.push((feature as u32, value));
                            }
                        }
                    }
                });
            },
        )
    }

    /// Appends a row.
    pub(super) fn push_row(&mut self, row: impl IntoIterator<Item = (u32, f32)>) {
        if self.chunks.last().is_none_or(|last| last.ends.len() == CHUNK_ROWS) {
            self.chunks.push(Chunk::default());
        }
        let last = self.chunks.last_mut().expect("there is a chunk");
        last.entries.extend(row);
        last.ends.push(last.entries.len());
    }

    /// The entries of `row`.
    pub(super) fn row(&self, row: usize) -> &[(u32, f32)] {
        let Chunk { ends, entries } = &self.chunks[row / CHUNK_ROWS];
        let row = row % CHUNK_ROWS;
        &entries[if row == 0 { 0 } else { ends[row - 1] }..ends[row]]
    }

    /// The entries of all rows.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, f32)> {
        self.chunks.iter().flat_map(|chunk| chunk.entries.iter().copied())
    }

    /// The same entries by feature.
    pub(super) fn by_feature(&self) -> Columns {
        let chunks = self.chunks.par_iter().map(|chunk| chunk.by_feature(self.d_sae));
        Columns { chunks: chunks.collect() }
    }
}

impl Chunk {
    fn by_feature(&self, d_sae: usize) -> ColumnChunk {
        let mut starts = vec![0_u32; d_sae + 1];
        for &(feature, _) in &self.entries {
            starts[feature as usize + 1] += 1;
        }
        for at in 0..d_sae {
            starts[at + 1] += starts[at];
        }
        let mut next = starts.clone();
        let mut entries = vec![(0, 0.0); self.entries.len()];
        let mut from = 0;
        for (row, &to) in (0..).zip(&self.ends) {
            for &(feature, value) in &self.entries[from..to] {
                let place = &mut next[feature as usize];
                entries[*place as usize] = (row, value);
                *place += 1;
            }
            from = to;
        }
        ColumnChunk { starts, entries }
    }
}

/// Entries by feature, ascending by row.
#[derive(Debug)]
pub(super) struct Columns {
    chunks: Vec<ColumnChunk>,
}

#[derive(Debug)]
struct ColumnChunk {
    /// Feature `j` has the entries `starts[j]..starts[j + 1]`.
    starts: Vec<u32>,
    /// Rows, counted from the chunk's first, with their values.
    entries: Vec<(u32, f32)>,
}

impl Columns {
    /// Divides the chunks into tiles of about `rows` rows; if a chunk has more, there is one tile.
    pub(super) fn tiles(&self, rows: usize) -> impl Iterator<Item = Range<usize>> {
        let all = self.chunks.len();
        let chunks = if rows < CHUNK_ROWS { all.max(1) } else { rows / CHUNK_ROWS };
        (0..all).step_by(chunks).map(move |from| from..(from + chunks).min(all))
    }

    /// Puts the entries of `feature` in these chunks, rows with their values, in place of those in
    /// `into`.
    pub(super) fn read(&self, feature: usize, chunks: Range<usize>, into: &mut Vec<(u32, f32)>) {
        into.clear();
        let first = (chunks.start * CHUNK_ROWS) as u32;
        for (first, chunk) in (first..).step_by(CHUNK_ROWS).zip(&self.chunks[chunks]) {
            let range = chunk.starts[feature] as usize..chunk.starts[feature + 1] as usize;
            into.extend(chunk.entries[range].iter().map(|&(row, value)| (first + row, value)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_of_a_feature_are_those_of_all_chunks_in_order_of_their_rows() {
        let (rows, d_sae) = (2 * CHUNK_ROWS + 5, 37);
        let pre: Vec<f32> = (0..rows * d_sae).map(|n| ((n * 7919) % 101) as f32 - 90.0).collect();
        let entries = Entries::above(&pre, d_sae, |_| 0.0, |_, value| value > 0.0);
        let mut one_by_one = Entries::new(d_sae);
        let columns = entries.by_feature();

        for (row, values) in pre.chunks(d_sae).enumerate() {
            let expected: Vec<_> =
                (0..).zip(values.iter().copied()).filter(|e| e.1 > 0.0).collect();
            assert_eq!(entries.row(row), expected, "row {row}");
            one_by_one.push_row(expected);
        }
        assert_eq!(entries, one_by_one);
        let mut found = Vec::new();
        for (tile_rows, tiles) in [(1, 1), (CHUNK_ROWS, 3), (2 * CHUNK_ROWS, 2)] {
            assert_eq!(columns.tiles(tile_rows).count(), tiles);
            for feature in 0..d_sae {
                let column = (0..).zip(pre.iter().copied().skip(feature).step_by(d_sae));
                let of_tiles = columns.tiles(tile_rows).flat_map(|tile| {
                    columns.read(feature, tile, &mut found);
                    found.clone()
                });
                assert!(of_tiles.eq(column.filter(|e| e.1 > 0.0)), "{feature}, {tile_rows}");
            }
        }
    }
}
