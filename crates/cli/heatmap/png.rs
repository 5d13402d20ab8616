//! Heat maps as PNG, drawn twice as large for fine screens.

use anyhow::{Result, bail};
use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster};
use png::{BitDepth, ColorType, Encoder, PixelDimensions, Unit};
use unicode_width::UnicodeWidthChar;

use super::figure::{Area, CELL_WIDTH, Figure, Ink, LINE, Mark};
use super::svg::opacity;

type Color = [u8; 3];

const SCALE: u32 = 2;
/// The most pixels of an image, 200 MB in memory.
const MAX_PIXELS: u64 = 64 << 20;
const PAGE: Color = [255, 255, 255];
const TRACK: Color = [0xf2, 0xf4, 0xf7];
const NORMAL: Color = [0x1f, 0x23, 0x28];
const MUTED: Color = [0x65, 0x6d, 0x76];
const PLUS: Color = [0x0a, 0x4f, 0xb0];
const MINUS: Color = [0xb9, 0x48, 0x0c];
/// Pixels per metre of a page at 96 dots per inch.
const PIXELS_PER_METRE: u32 = 3780;
/// The height of a character of the font, which is two cells wide at most.
const GLYPH_HEIGHT: u32 = 32;

/// Draws `figure`. The font has Latin letters; others are drawn as boxes.
pub(super) fn draw(figure: &Figure) -> Result<Vec<u8>> {
    let (width, height) = (figure.width.saturating_mul(SCALE), figure.height.saturating_mul(SCALE));
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        bail!(
            "a heat map of {width} x {height} pixels is too large for PNG; draw fewer rows with --top \
             N, or write a file .svg"
        );
    }
    let mut canvas = Canvas::new(width, height);
    for mark in &figure.marks {
        match mark {
            Mark::Track(area) => canvas.fill(*area, TRACK),
            Mark::Cell { area, share, is_negative, .. } => {
                let color = if *is_negative { MINUS } else { PLUS };
                canvas.fill(*area, mixed(TRACK, color, opacity(*share)));
            }
            Mark::Text { x, y, ink, text, .. } => {
                let color = if *ink == Ink::Muted { MUTED } else { NORMAL };
                canvas.text(x * SCALE, y * SCALE, color, text);
            }
        }
    }
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, width, height);
    encoder.set_color(ColorType::Rgb);
    encoder.set_depth(BitDepth::Eight);
    let density = PIXELS_PER_METRE * SCALE;
    encoder.set_pixel_dims(Some(PixelDimensions {
        xppu: density,
        yppu: density,
        unit: Unit::Meter,
    }));
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&canvas.pixels)?;
    writer.finish()?;
    Ok(bytes)
}

/// The colour `share` of the way from one to another.
fn mixed(from: Color, to: Color, share: f32) -> Color {
    let mix = |at: usize| {
        (f32::from(from[at]) + (f32::from(to[at]) - f32::from(from[at])) * share).round() as u8
    };
    [mix(0), mix(1), mix(2)]
}

struct Canvas {
    width: u32,
    height: u32,
    /// Red, green and blue, row by row.
    pixels: Vec<u8>,
}

impl Canvas {
    fn new(width: u32, height: u32) -> Self {
        Self { width, height, pixels: PAGE.repeat(width as usize * height as usize) }
    }

    fn pixel(&mut self, x: u32, y: u32) -> Option<&mut [u8]> {
        if x >= self.width || y >= self.height {
            return None;
        }
        let at = (y as usize * self.width as usize + x as usize) * 3;
        Some(&mut self.pixels[at..at + 3])
    }

    fn fill(&mut self, area: Area, color: Color) {
        let Area { x, y, width, height } = area;
        for y in y * SCALE..(y + height) * SCALE {
            for x in x * SCALE..(x + width) * SCALE {
                if let Some(pixel) = self.pixel(x, y) {
                    pixel.copy_from_slice(&color);
                }
            }
        }
    }

    fn text(&mut self, x: u32, y: u32, color: Color, text: &str) {
        let top = y + (LINE * SCALE - GLYPH_HEIGHT) / 2;
        let mut left = x;
        for c in text.chars() {
            let cells = c.width().unwrap_or(0) as u32;
            if cells > 0 {
                let wide = cells * CELL_WIDTH * SCALE;
                self.character(left, top, wide, color, c);
                left += wide;
            }
        }
    }

    fn character(&mut self, left: u32, top: u32, wide: u32, color: Color, c: char) {
        if c == '…' {
            return self.ellipsis(left, top, wide, color);
        }
        let Some(glyph) = get_raster(in_font(c), FontWeight::Regular, RasterHeight::Size32) else {
            return self.frame(left, top, wide, color);
        };
        for (y, row) in glyph.rows().enumerate() {
            for (x, &intensity) in row.iter().enumerate() {
                let share = f32::from(intensity) / 255.0;
                if intensity > 0
                    && let Some(pixel) = self.pixel(left + x as u32, top + y as u32)
                {
                    let under = [pixel[0], pixel[1], pixel[2]];
                    pixel.copy_from_slice(&mixed(under, color, share));
                }
            }
        }
    }

    /// Three dots on the baseline.
    fn ellipsis(&mut self, left: u32, top: u32, wide: u32, color: Color) {
        for dot in 0..3 {
            let x = left + wide * (2 * dot + 1) / 6 - 1;
            self.blot(x, top + GLYPH_HEIGHT * 3 / 4 - 3, (2, 2), color);
        }
    }

    /// A box in place of a character that the font does not have.
    fn frame(&mut self, left: u32, top: u32, wide: u32, color: Color) {
        const LEN: u32 = GLYPH_HEIGHT / 2;

        let (x, y, wide) = (left + 2, top + GLYPH_HEIGHT / 4, wide - 4);
        self.blot(x, y, (wide, 1), color);
        self.blot(x, y + LEN, (wide, 1), color);
        self.blot(x, y, (1, LEN), color);
        self.blot(x + wide - 1, y, (1, LEN), color);
    }

    fn blot(&mut self, left: u32, top: u32, (width, height): (u32, u32), color: Color) {
        for y in top..top + height {
            for x in left..left + width {
                if let Some(pixel) = self.pixel(x, y) {
                    pixel.copy_from_slice(&color);
                }
            }
        }
    }
}

/// The character of the font that stands for `c`.
fn in_font(c: char) -> char {
    match c {
        '↵' => '¶',
        '⇥' => '»',
        '⟨' => '<',
        '⟩' => '>',
        '‘' | '’' => '\'',
        '“' | '”' => '"',
        '–' | '—' | '−' => '-',
        c => c,
    }
}

#[cfg(test)]
mod tests {
    use super::super::grid::example;
    use super::*;

    fn decoded(figure: &Figure) -> Canvas {
        let bytes = draw(figure).unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        assert_eq!((info.color_type, info.bit_depth), (ColorType::Rgb, BitDepth::Eight));
        Canvas { width: info.width, height: info.height, pixels }
    }

    #[test]
    fn the_larger_the_activation_the_darker_the_cell() {
        let figure = Figure::new(&example());

        let mut canvas = decoded(&figure);

        assert_eq!((canvas.width, canvas.height), (2 * figure.width, 2 * figure.height));
        let mut cells = Vec::new();
        for mark in &figure.marks {
            if let Mark::Cell { area, share, is_negative: false, .. } = mark {
                let (x, y) = (area.x + area.width / 2, area.y + area.height / 2);
                let sum: u32 =
                    canvas.pixel(2 * x, 2 * y).unwrap().iter().copied().map(u32::from).sum();
                cells.push((*share, sum));
            }
        }
        cells.sort_by(|a, b| a.0.total_cmp(&b.0));
        cells.dedup();
        assert!(cells.len() > 8, "{cells:?}");
        assert!(cells.is_sorted_by(|a, b| a.0 < b.0 && a.1 > b.1), "{cells:?}");
        assert!(cells[0].1 < TRACK.iter().copied().map(u32::from).sum(), "{cells:?}");
    }

    #[test]
    fn letters_are_drawn_and_those_that_the_font_lacks_are_boxes() {
        let ink = |text: &str| {
            let mut canvas = Canvas::new(100, 40);
            canvas.text(4, 2, NORMAL, text);
            canvas.pixels.chunks_exact(3).filter(|pixel| **pixel != PAGE).count()
        };

        assert_eq!(ink(" "), 0);
        let frame = ink("Ж");
        assert!(frame > 0);
        assert!(ink("M") > frame && ink("é") > ink("´"), "{frame}");
        assert_eq!(ink("\u{ff}"), ink("ÿ"));
        assert!(ink("日") > frame);
        assert!(ink("…") > 0 && ink("…") < ink("."));
        assert_eq!(ink("↵"), ink("¶"));
    }

    #[test]
    fn an_image_that_is_too_large_is_refused() {
        let figure = Figure { width: 20_000, height: 20_000, marks: Vec::new() };

        let error = draw(&figure).unwrap_err().to_string();

        assert!(error.contains("40000 x 40000 pixels") && error.contains(".svg"), "{error}");
    }
}
