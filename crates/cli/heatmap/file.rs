//! The file of a heat map.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::Result;
use nanoscope_checkpoint::{is_stdout, write_atomically};

use super::figure::Figure;
use super::grid::Grid;
use super::{png, svg, text};
use crate::terminal::display::{PIPED_CELLS, width};

/// The place of a heat map, with the form that its extension names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HeatMapFile {
    path: PathBuf,
    form: Form,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Text,
    Svg,
    Png,
}

impl FromStr for HeatMapFile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let path = PathBuf::from(if text == "-" { "/dev/stdout" } else { text });
        let extension = path.extension().map(|end| end.to_string_lossy().to_lowercase());
        let form = match extension.as_deref() {
            Some("txt") => Form::Text,
            Some("svg") => Form::Svg,
            Some("png") => Form::Png,
            None if is_stdout(&path) => Form::Text,
            _ => return Err("expected a file .txt, .svg or .png, or - for stdout".to_owned()),
        };
        Ok(Self { path, form })
    }
}

impl HeatMapFile {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Draws `grid`. On a terminal it is coloured and as wide as the terminal.
    pub(crate) fn write(&self, grid: &Grid) -> Result<()> {
        let bytes = match self.form {
            Form::Text if is_stdout(&self.path) => {
                let mut out = anstream::stdout().lock();
                write!(out, "{}", text::draw(grid, width()))?;
                return Ok(out.flush()?);
            }
            Form::Text => anstream::adapter::strip_str(&text::draw(grid, PIPED_CELLS))
                .to_string()
                .into_bytes(),
            Form::Svg => svg::draw(&Figure::new(grid)).into_bytes(),
            Form::Png => png::draw(&Figure::new(grid))?,
        };
        Ok(write_atomically(&self.path, &bytes)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_that_of_the_extension_and_others_are_refused() {
        let form = |path: &str| path.parse::<HeatMapFile>().map(|file| file.form);

        assert_eq!(form("a.txt"), Ok(Form::Text));
        assert_eq!(form("-"), Ok(Form::Text));
        assert_eq!(form("dir.png/a.SVG"), Ok(Form::Svg));
        assert_eq!(form("a.b.png"), Ok(Form::Png));
        for path in ["a.gif", "a", "svg", ".png", "/dev/stderr"] {
            let error = form(path).unwrap_err();
            assert!([".txt", ".svg", ".png"].iter().all(|end| error.contains(end)), "{path}");
        }
    }
}
