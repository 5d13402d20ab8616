//! Heat maps as SVG, in one file without references to others.

use std::fmt::Write as _;

use super::figure::{Area, Figure, Ink, LINE, Mark};

/// Colours for light and dark pages. The text is set so that a character is as wide as a character cell. Each rule
/// names the picture, because in an HTML page the style is that of the whole page.
const STYLE: &str = "\
.heatmap text{font:11.6px ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;\
white-space:pre;fill:#1f2328}\
.heatmap .page{fill:#fff}.heatmap .track{fill:#f2f4f7}.heatmap .muted{fill:#656d76}\
.heatmap .plus{fill:#0a4fb0}.heatmap .minus{fill:#b9480c}\
@media(prefers-color-scheme:dark){.heatmap text{fill:#e6edf3}\
.heatmap .page{fill:#0d1117}.heatmap .track{fill:#1a2029}.heatmap .muted{fill:#9198a1}\
.heatmap .plus{fill:#7cc0ff}.heatmap .minus{fill:#ffa657}}";

pub(super) fn draw(figure: &Figure) -> String {
    let Figure { width, height, marks } = figure;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"heatmap\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"Features over tokens\">\n\
         <style>{STYLE}</style>\n<rect class=\"page\" width=\"{width}\" height=\"{height}\"/>\n"
    );
    for mark in marks {
        match mark {
            Mark::Track(area) => rect(&mut out, *area, "track", "", None),
            Mark::Cell { area, share, is_negative, title } => {
                let class = if *is_negative { "minus" } else { "plus" };
                let opacity = format!(" fill-opacity=\"{:.3}\"", opacity(*share));
                rect(&mut out, *area, class, &opacity, title.as_deref());
            }
            Mark::Text { x, y, ink, text, title } => {
                let class = if *ink == Ink::Muted { " class=\"muted\"" } else { "" };
                // The baseline, for capitals in the middle of the line.
                let y = y + LINE / 2 + 4;
                let _ = write!(out, "<text x=\"{x}\" y=\"{y}\"{class}>{}", escaped(text));
                titled(&mut out, title.as_deref());
                out.push_str("</text>\n");
            }
        }
    }
    out.push_str("</svg>\n");
    out
}

/// The opacity of a shade. A weak activation can still be told from none.
pub(super) fn opacity(share: f32) -> f32 {
    0.1 + 0.9 * share
}

fn rect(out: &mut String, area: Area, class: &str, more: &str, title: Option<&str>) {
    let Area { x, y, width, height } = area;
    let _ = write!(
        out,
        "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\"{more}"
    );
    if title.is_some() {
        out.push('>');
        titled(out, title);
        out.push_str("</rect>\n");
    } else {
        out.push_str("/>\n");
    }
}

fn titled(out: &mut String, title: Option<&str>) {
    if let Some(title) = title {
        let _ = write!(out, "<title>{}</title>", escaped(title));
    }
}

/// `text` as the content of an element. Characters that XML cannot hold are replaced.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use roxmltree::Document;

    use super::super::grid::{Grid, example};
    use super::*;

    fn svg(grid: &Grid) -> String {
        draw(&Figure::new(grid))
    }

    #[test]
    fn cells_say_what_they_are_and_the_larger_ones_are_less_transparent() {
        let svg = svg(&example());
        let document = Document::parse(&svg).unwrap();

        let title = |node: &roxmltree::Node<'_, '_>| {
            node.children().find(|child| child.has_tag_name("title"))?.text().map(str::to_owned)
        };
        let cells: Vec<(String, f32)> = document
            .descendants()
            .filter(|node| node.has_tag_name("rect") && node.attribute("fill-opacity").is_some())
            .filter_map(|node| Some((title(&node)?, node.attribute("fill-opacity")?.parse().ok()?)))
            .collect();
        assert_eq!(cells.len(), 6, "{cells:?}");
        assert!(cells[1].0.starts_with("·dog  40.0  #1909 a dog & <its> \"owner\""), "{cells:?}");
        assert!(cells[2].0.starts_with("<script>  20.0"), "{cells:?}");
        assert_eq!((cells[0].1, cells[1].1, cells[2].1), (1.0, 1.0, 0.55));
        let negative = document.descendants().find(|node| node.attribute("class") == Some("minus"));
        assert_eq!(title(&negative.unwrap()).unwrap(), "·dog  -1.00  #5");
    }

    #[test]
    fn hostile_tokens_are_text() {
        let mut grid = example();
        let hostile = ["</text><script>alert(1)</script>", "]]>", "&#0;", "\u{ffff}\u{1}\u{fffe}"];
        for (column, token) in grid.texts[0].iter_mut().zip(hostile) {
            token.clone_into(&mut column.token);
        }

        let svg = svg(&grid);

        let document = Document::parse(&svg).unwrap();
        let mut tags: Vec<_> = document.descendants().map(|node| node.tag_name().name()).collect();
        tags.sort_unstable();
        tags.dedup();
        assert_eq!(tags, ["", "rect", "style", "svg", "text", "title"]);
        let texts: String = document.descendants().filter_map(|node| node.text()).collect();
        for token in &hostile[..3] {
            assert!(texts.contains(token), "{token}");
        }
        assert!(!svg.contains(['\u{1}', '\u{ffff}', '\u{fffe}']));
        for outside in ["href", "url(", "import", "http://"] {
            let found = svg.replace("http://www.w3.org/2000/svg", "");
            assert!(!found.contains(outside), "{outside}");
        }
    }
}
