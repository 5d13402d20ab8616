//! Heat maps as text, for terminals and files.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};

use unicode_width::UnicodeWidthStr;

use super::bands::{bands, width};
use super::grid::{Column, FeatureRow, Grid, Group, number};
use crate::terminal::display::{DIM, LABEL, TOKEN, VALUE, cut};

/// Shades from weak to strong.
const SHADES: [char; 4] = ['░', '▒', '▓', '█'];
const NEGATIVE: Style = AnsiColor::Blue.on_default();
/// The width of a row's name is a third of the line, within these bounds.
const NAME_CELLS: (usize, usize) = (10, 48);

/// Draws `grid` in lines of `line_cells` cells, with colours. A row that has nothing in a band is left
/// out there, unless it was asked for.
pub(super) fn draw(grid: &Grid, line_cells: usize) -> String {
    let names = grid.groups.iter().flat_map(|group| &group.rows).map(FeatureRow::name);
    let longest = names.map(|name| cut(&name, NAME_CELLS.1).chars().count()).max().unwrap_or(0);
    let name_cells = longest.min((line_cells / 3).clamp(NAME_CELLS.0, NAME_CELLS.1));
    let room = line_cells.saturating_sub(name_cells + 1);
    let mut out = String::new();
    for group in &grid.groups {
        let shades: String = SHADES.iter().collect();
        let _ = writeln!(
            out,
            "{DIM}{}{DIM:#}  0 {VALUE}{shades}{VALUE:#} {}",
            group.hook,
            number(group.largest)
        );
    }
    for (row, columns) in grid.texts.iter().enumerate() {
        if grid.texts.len() > 1 {
            let _ = write!(out, "\n{TOKEN}row {row}{TOKEN:#}\n");
        }
        for band in bands(columns, room) {
            out.push('\n');
            draw_band(&mut out, grid, &columns[band], name_cells);
        }
    }
    out
}

fn draw_band(out: &mut String, grid: &Grid, columns: &[Column], name_cells: usize) {
    let tokens = columns.iter().map(|column| {
        let style = if column.is_prompt { DIM } else { TOKEN };
        (style, cut(&column.token, width(column)), width(column))
    });
    draw_line(out, (Style::new(), ""), name_cells, tokens);
    for (at, group) in grid.groups.iter().enumerate() {
        if grid.groups.len() > 1 {
            let _ = writeln!(out, "{DIM}{}{DIM:#}", group.hook);
        }
        for (row, feature) in group.rows.iter().enumerate() {
            let is_active = columns.iter().any(|column| column.values[at][row] != 0.0);
            if !is_active && !grid.is_chosen {
                continue;
            }
            let cells = columns.iter().map(|column| {
                let value = column.values[at][row];
                let style = if value < 0.0 { NEGATIVE } else { VALUE };
                (style, shade(group, value, width(column)), width(column))
            });
            draw_line(out, (LABEL, &feature.name()), name_cells, cells);
        }
    }
}

/// Draws a name and, for each column, a styled text that is padded to the column's width.
fn draw_line(
    out: &mut String,
    (style, name): (Style, &str),
    name_cells: usize,
    cells: impl Iterator<Item = (Style, String, usize)>,
) {
    let name = cut(name, name_cells);
    let mut line = format!("{style}{name}{style:#}");
    let mut blank = name_cells - name.width();
    for (style, text, width) in cells {
        blank += 1;
        if !text.is_empty() {
            let _ = write!(line, "{}{style}{text}{style:#}", " ".repeat(blank));
            blank = 0;
        }
        blank += width - text.width();
    }
    let _ = writeln!(out, "{line}");
}

/// A bar as wide as its column, which begins with a minus sign if the activation is negative; empty if
/// it is 0.
fn shade(group: &Group, value: f32, width: usize) -> String {
    if value == 0.0 {
        return String::new();
    }
    let level = (group.share(value) * SHADES.len() as f32).ceil() as usize;
    let bar = SHADES[level.clamp(1, SHADES.len()) - 1].to_string().repeat(width);
    if value < 0.0 { format!("-{}", bar.chars().skip(1).collect::<String>()) } else { bar }
}

#[cfg(test)]
mod tests {
    use super::super::grid::example;
    use super::*;

    fn plain(width: usize) -> String {
        anstream::adapter::strip_str(&draw(&example(), width)).to_string()
    }

    #[test]
    fn rows_are_features_and_columns_are_tokens() {
        assert_eq!(
            plain(80),
            "\
blocks.3.hook_resid_post  0 ░▒▓█ 40.0
blocks.1.hook_resid_post  0 ░▒▓█ 2.00

                           <|bos|> The ·dog <script> ⟨202E⟩
blocks.3.hook_resid_post
#1909 a dog & <its> \"owne… ███████     ████ ▒▒▒▒▒▒▒▒
#7                                 ░░░
blocks.1.hook_resid_post
#5                                     -▒▒▒          ██████
"
        );
    }

    #[test]
    fn a_narrow_page_has_several_bands_and_no_line_is_wider() {
        let text = plain(30);

        assert_eq!(text.matches("#1909").count(), 2, "{text}");
        let map = text.lines().skip(3);
        assert!(map.clone().all(|line| line.chars().count() <= 30), "{text}");
        assert!(text.lines().all(|line| line.trim_end() == line), "{text}");
        assert!(map.count() > 10, "{text}");
    }

    #[test]
    fn a_row_without_activations_is_drawn_only_if_it_was_asked_for() {
        let mut grid = example();
        let count = |grid: &Grid| draw(grid, 30).matches("#7").count();

        assert_eq!(count(&grid), 2);
        grid.is_chosen = false;
        assert_eq!(count(&grid), 1);
    }

    #[test]
    fn a_batch_names_its_rows() {
        let mut grid = example();
        grid.texts.push(grid.texts[0].clone());

        let text = anstream::adapter::strip_str(&draw(&grid, 80)).to_string();

        assert!(text.contains("\nrow 0\n") && text.contains("\nrow 1\n"), "{text}");
    }
}
