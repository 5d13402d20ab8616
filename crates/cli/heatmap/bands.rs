//! Columns as wide as their tokens, in bands as wide as the page.

use std::ops::Range;

use unicode_width::UnicodeWidthStr;

use super::grid::Column;

/// The least and the largest width of a token, in character cells. Longer tokens are cut.
const TOKEN_CELLS: (usize, usize) = (2, 14);

/// The width of a column, in character cells, without the space after it.
pub(super) fn width(column: &Column) -> usize {
    column.token.width().clamp(TOKEN_CELLS.0, TOKEN_CELLS.1)
}

/// The columns of each band, so that each column and a space after it fit in `room` cells: as few bands
/// as possible, about equally wide. A band has at least one column.
pub(super) fn bands(columns: &[Column], room: usize) -> Vec<Range<usize>> {
    let count = filled(columns, room).len();
    // The least room that needs no more bands.
    let (mut least, mut enough) = (1, room.max(1));
    while least < enough {
        let middle = least.midpoint(enough);
        if filled(columns, middle).len() > count {
            least = middle + 1;
        } else {
            enough = middle;
        }
    }
    filled(columns, enough)
}

/// The columns of each band, if each has as many as fit in `room` cells.
fn filled(columns: &[Column], room: usize) -> Vec<Range<usize>> {
    let (mut bands, mut from, mut used) = (Vec::new(), 0, 0);
    for (at, column) in columns.iter().enumerate() {
        let width = width(column) + 1;
        if at > from && used + width > room {
            bands.push(from..at);
            (from, used) = (at, 0);
        }
        used += width;
    }
    if from < columns.len() {
        bands.push(from..columns.len());
    }
    bands
}

#[cfg(test)]
mod tests {
    use super::super::grid::example;
    use super::*;

    #[test]
    fn every_column_is_in_one_band_that_fits() {
        let columns = &example().texts[0];

        let widths: Vec<usize> = columns.iter().map(width).collect();
        assert_eq!(widths, [7, 3, 4, 8, 6]);
        assert_eq!(bands(columns, 29), [0..3, 3..5]);
        assert_eq!(bands(columns, 33).len(), 1);
        assert_eq!(bands(columns, 12), [0..1, 1..3, 3..4, 4..5]);
        assert_eq!(bands(columns, 14), [0..2, 2..4, 4..5]);
        assert_eq!(bands(columns, 1), [0..1, 1..2, 2..3, 3..4, 4..5]);
        assert!(bands(&[], 80).is_empty());
    }
}
