//! Formatting of numbers and of excerpts of a text.

use super::text::Excerpt;
use crate::terminal::display::{DIM, TOKEN, cut, visible};

/// The smallest width of a column of numbers, in cells.
pub(crate) const NUMBER_CELLS: usize = 8;

/// `value` with `digits` decimals, or in scientific notation if these would all be zero or would
/// not fit the column.
pub(crate) fn number(value: f64, digits: usize) -> String {
    let plain = format!("{value:.digits$}");
    let lost = value != 0.0 && plain.chars().all(|c| "-0.".contains(c));
    if lost || plain.len() >= NUMBER_CELLS { format!("{value:.1e}") } else { plain }
}

/// A fraction in percent, with a decimal if it is below 10 %.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.*} %", usize::from(share > 0.0 && share < 0.1), share * 100.0)
}

/// A token in quotes, with as much of the text around it as fits into `cells`.
pub(crate) fn format_excerpt(excerpt: &Excerpt, cells: usize) -> String {
    const QUOTES: usize = 2;

    let before = one_line(&excerpt.before);
    let (space, token) = match excerpt.token.strip_prefix(' ') {
        Some("") | None => ("", excerpt.token.as_str()),
        Some(token) => (" ", token),
    };
    let token = cut(&one_line(token), cells.saturating_sub(QUOTES));
    let room = cells.saturating_sub(token.chars().count() + QUOTES);
    let before = format!("{before}{space}");
    // The text before a token explains more about why a feature fires than the text after it.
    let for_after = (room / 3).max(room.saturating_sub(before.chars().count()));
    let after = match for_after {
        0 => String::new(),
        cells => cut(&one_line(&excerpt.after), cells),
    };
    let before = cut_start(&before, room - after.chars().count());
    format!("{DIM}{before}{DIM:#}«{TOKEN}{token}{TOKEN:#}»{DIM}{after}{DIM:#}")
}

/// Like [`visible`], but keeps a leading space.
fn one_line(text: &str) -> String {
    match text.strip_prefix(' ') {
        Some(rest) => format!(" {}", one_line(rest)),
        None => visible(text),
    }
}

/// `text`, cut at its start to `cells`.
fn cut_start(text: &str, cells: usize) -> String {
    let len = text.chars().count();
    if len <= cells {
        return text.to_owned();
    }
    let kept = cells.saturating_sub(1);
    ['…'].into_iter().take(cells).chain(text.chars().skip(len - kept)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excerpt() -> Excerpt {
        Excerpt {
            token_id: 17,
            before: "Once upon a time, there was a little".to_owned(),
            token: " girl".to_owned(),
            after: " named\nLily".to_owned(),
        }
    }

    fn plain(cells: usize) -> String {
        anstream::adapter::strip_str(&format_excerpt(&excerpt(), cells)).to_string()
    }

    #[test]
    fn a_place_is_cut_to_its_cells_around_the_token() {
        assert_eq!(plain(80), "Once upon a time, there was a little «girl» named↵Lily");
        assert_eq!(plain(30), "…e was a little «girl» named↵…");
        assert_eq!(plain(6), "«girl»");
        assert_eq!(plain(5), "«gi…»");
        for cells in 3..60 {
            assert!(plain(cells).chars().count() <= cells, "{cells}: {}", plain(cells));
        }
    }

    #[test]
    fn numbers_that_are_very_small_or_large_have_an_exponent() {
        assert_eq!(number(0.0, 2), "0.00");
        assert_eq!(number(-2.345, 2), "-2.35");
        assert_eq!(number(0.004_21, 2), "4.2e-3");
        assert_eq!(number(-0.000_01, 1), "-1.0e-5");
        assert_eq!(number(12_345.6, 1), "12345.6");
        assert_eq!(number(1_234_567.0, 1), "1.2e6");
    }

    #[test]
    fn small_shares_have_a_digit_more() {
        assert_eq!(percent(0.0), "0 %");
        assert_eq!(percent(0.012), "1.2 %");
        assert_eq!(percent(0.25), "25 %");
        assert_eq!(percent(1.0), "100 %");
    }
}
