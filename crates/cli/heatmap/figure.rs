//! A heat map laid out on a page, in pixels.

use std::ops::Range;

use unicode_width::UnicodeWidthStr;

use super::bands::{bands, width};
use super::grid::{Column, Grid, number};
use crate::terminal::display::cut;

/// The size of a character cell.
pub(super) const CELL_WIDTH: u32 = 7;
/// The distance between two lines.
pub(super) const LINE: u32 = 18;
const MARGIN: u32 = 16;
/// The room for a row's name, and for the tokens of a band, in character cells.
const NAME_CELLS: usize = 48;
const ROOM_CELLS: usize = 116;
/// The number of shades in a legend, and the width of each.
const SWATCHES: u32 = 8;
const SWATCH: u32 = 12;
/// The distance between two bands.
const GAP: u32 = 14;

/// The marks of a heat map, in the order in which they are drawn.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Figure {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) marks: Vec<Mark>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Mark {
    /// The background of a row.
    Track(Area),
    /// An activation.
    Cell { area: Area, share: f32, is_negative: bool, title: Option<String> },
    /// A text from `x` on, in a line that begins at `y`.
    Text { x: u32, y: u32, ink: Ink, text: String, title: Option<String> },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Area {
    pub(super) x: u32,
    pub(super) y: u32,
    pub(super) width: u32,
    pub(super) height: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ink {
    Normal,
    /// For hook points and the tokens of a prompt.
    Muted,
}

impl Figure {
    pub(super) fn new(grid: &Grid) -> Self {
        let names = grid.groups.iter().flat_map(|group| &group.rows).map(|row| row.name().width());
        let name_cells = names.max().unwrap_or(0).min(NAME_CELLS);
        let left = MARGIN + (name_cells as u32 + 1) * CELL_WIDTH;
        let mut figure = Self { width: 0, height: MARGIN, marks: Vec::new() };
        figure.legend(grid);
        for (row, columns) in grid.texts.iter().enumerate() {
            if grid.texts.len() > 1 {
                figure.height += GAP;
                figure.text(MARGIN, Ink::Normal, &format!("row {row}"), None);
                figure.height += LINE;
            }
            for band in bands(columns, ROOM_CELLS) {
                figure.height += GAP;
                figure.band(grid, columns, band, (left, name_cells));
            }
        }
        figure.width += MARGIN;
        figure.height += MARGIN;
        figure
    }

    /// A line for each hook point: its name, and the shades from 0 to its largest activation.
    fn legend(&mut self, grid: &Grid) {
        let longest = grid.groups.iter().map(|group| group.hook.to_string().width()).max();
        let left = MARGIN + (longest.unwrap_or(0) as u32 + 3) * CELL_WIDTH;
        for group in &grid.groups {
            self.text(MARGIN, Ink::Muted, &group.hook.to_string(), None);
            self.text(left, Ink::Normal, "0", None);
            let from = left + 2 * CELL_WIDTH;
            for at in 0..SWATCHES {
                let area = self.area(from + at * SWATCH, SWATCH);
                let share = (at + 1) as f32 / SWATCHES as f32;
                self.marks.push(Mark::Cell { area, share, is_negative: false, title: None });
            }
            let to = from + SWATCHES * SWATCH + CELL_WIDTH;
            self.text(to, Ink::Normal, &number(group.largest), None);
            self.height += LINE;
        }
    }

    fn band(
        &mut self,
        grid: &Grid,
        columns: &[Column],
        band: Range<usize>,
        (left, name_cells): (u32, usize),
    ) {
        let mut places = Vec::new();
        let mut x = left;
        for column in &columns[band] {
            let cells = width(column);
            let ink = if column.is_prompt { Ink::Muted } else { Ink::Normal };
            let text = cut(&column.token, cells);
            let title = (text != column.token).then(|| column.token.clone());
            self.text(x + CELL_WIDTH / 2, ink, &text, title);
            let wide = (cells as u32 + 1) * CELL_WIDTH;
            places.push((column, x, wide));
            x += wide;
        }
        self.width = self.width.max(x);
        self.height += LINE;
        for (at, group) in grid.groups.iter().enumerate() {
            if grid.groups.len() > 1 {
                self.text(MARGIN, Ink::Muted, &group.hook.to_string(), None);
                self.height += LINE;
            }
            for (row, feature) in group.rows.iter().enumerate() {
                let name = feature.name();
                self.text(MARGIN, Ink::Normal, &cut(&name, name_cells), Some(name.clone()));
                let area = self.area(left, x - left);
                self.marks.push(Mark::Track(area));
                for &(column, x, wide) in &places {
                    let value = column.values[at][row];
                    if value != 0.0 {
                        self.marks.push(Mark::Cell {
                            area: self.area(x, wide),
                            share: group.share(value),
                            is_negative: value < 0.0,
                            title: Some(format!("{}  {}  {name}", column.token, number(value))),
                        });
                    }
                }
                self.height += LINE;
            }
        }
    }

    /// Adds a text in the current line.
    fn text(&mut self, x: u32, ink: Ink, text: &str, title: Option<String>) {
        self.width = self.width.max(x + text.width() as u32 * CELL_WIDTH);
        self.marks.push(Mark::Text { x, y: self.height, ink, text: text.to_owned(), title });
    }

    /// An area in the current line, with a pixel between it and its neighbours.
    fn area(&self, x: u32, width: u32) -> Area {
        Area { x, y: self.height + 1, width: width - 1, height: LINE - 2 }
    }
}

#[cfg(test)]
mod tests {
    use super::super::grid::example;
    use super::*;

    #[test]
    fn everything_is_on_the_page_and_no_two_cells_overlap() {
        let mut grid = example();
        grid.texts.push(grid.texts[0].iter().cycle().take(100).cloned().collect());

        let figure = Figure::new(&grid);

        let mut cells: Vec<Area> = Vec::new();
        for mark in &figure.marks {
            let area = match mark {
                Mark::Track(area) => *area,
                Mark::Cell { area, .. } => {
                    let apart = |other: &Area| {
                        area.x >= other.x + other.width
                            || other.x >= area.x + area.width
                            || area.y >= other.y + other.height
                            || other.y >= area.y + area.height
                    };
                    assert!(cells.iter().all(apart), "{area:?}");
                    cells.push(*area);
                    *area
                }
                Mark::Text { x, y, text, .. } => {
                    let width = text.width() as u32 * CELL_WIDTH;
                    Area { x: *x, y: *y, width, height: LINE }
                }
            };
            let (right, bottom) = (area.x + area.width, area.y + area.height);
            assert!(right + MARGIN <= figure.width && bottom <= figure.height, "{mark:?}");
        }
        // Two legends, and the active cells of 105 columns.
        assert_eq!(cells.len(), 16 + 6 * 21);
    }
}
