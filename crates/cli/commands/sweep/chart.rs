//! Curves over one horizontal axis, as SVG in one file without references to others.

use std::fmt::Write as _;

use super::ticks::Ticks;
use crate::heatmap::escaped;
use crate::terminal::display::cut;

const STYLE: &str = "text{font:13px system-ui,'Segoe UI',Helvetica,Arial,'DejaVu Sans',sans-serif;white-space:pre;fill:#1f2328}\
.title{font-size:15px;font-weight:600}.muted{fill:#57606a;font-size:12px}.grid{stroke:#e4e7eb}\
.frame{fill:none;stroke:#8c959f}.quiet{stroke:#57606a;stroke-dasharray:2 4}\
.mark{stroke:#b42318;stroke-dasharray:7 4}.marked{fill:#b42318;font-size:12px}\
.curve{fill:none;stroke-width:2;stroke-linejoin:round}";

/// Colours that readers with colour blindness can tell apart (Okabe and Ito 2008), without the yellow, which is
/// faint on white.
const COLOURS: [&str; 7] =
    ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#000000", "#56b4e9", "#e69f00"];
/// The dashes of the curves after each round of colours.
const DASHES: [&str; 3] = ["none", "8 4", "2 3"];

const WIDTH: f64 = 860.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 100.0;
const PANEL: f64 = 240.0;
/// The height between panels, for the labels of the ticks and the name of the panel below.
const GAP: f64 = 56.0;
const LINE: f64 = 20.0;
/// The characters of a line across the picture.
const LINE_CELLS: usize = 105;

/// Draws the chart: its title, a legend, and its panels above each other.
pub(super) fn draw(chart: &Chart) -> String {
    let top = 70.0 + LINE * chart.names.len() as f64;
    let height = top + (PANEL + GAP) * chart.panels.len() as f64 + 8.0;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"Metric and fluency against the \
         strength of steering\">\n<style>{STYLE}</style>\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\"/>\n"
    );
    text(&mut out, (16.0, 26.0), "title", "start", &cut(&chart.title, LINE_CELLS));
    for (at, name) in chart.names.iter().enumerate() {
        let y = 46.0 + LINE * at as f64;
        let _ = writeln!(
            out,
            "<line x1=\"16\" y1=\"{y}\" x2=\"44\" y2=\"{y}\" class=\"curve\" {}/>",
            stroke(at)
        );
        text(&mut out, (52.0, y + 4.5), "name", "start", &cut(name, LINE_CELLS));
    }
    let x = x_axis(chart);
    for (at, panel) in chart.panels.iter().enumerate() {
        let top = top + (PANEL + GAP) * at as f64;
        let area = Area { top, x: &x, y: y_axis(panel) };
        area.draw(&mut out, panel, chart.is_share);
    }
    let bottom = top + (PANEL + GAP) * chart.panels.len() as f64;
    let middle = f64::midpoint(LEFT, WIDTH - RIGHT);
    text(&mut out, (middle, bottom - 12.0), "name", "middle", &chart.x_name);
    out.push_str("</svg>\n");
    out
}

/// A picture of several curves in each of several panels.
#[derive(Debug, Clone)]
pub(super) struct Chart {
    pub(super) title: String,
    pub(super) x_name: String,
    /// True if the numbers of the horizontal axis are shares.
    pub(super) is_share: bool,
    /// The name of each curve.
    pub(super) names: Vec<String>,
    pub(super) panels: Vec<Panel>,
}

/// Curves over the same vertical axis.
#[derive(Debug, Clone)]
pub(super) struct Panel {
    /// The name of the vertical axis.
    pub(super) name: String,
    pub(super) levels: Vec<Level>,
    /// In the order of the names.
    pub(super) curves: Vec<Curve>,
}

/// The points of a curve from left to right, and the text of each one's strength.
#[derive(Debug, Clone)]
pub(super) struct Curve(pub(super) Vec<(f64, f64, String)>);

/// A horizontal line with a name.
#[derive(Debug, Clone)]
pub(super) struct Level {
    y: f64,
    name: &'static str,
    is_marked: bool,
}

impl Level {
    /// A line in the background.
    pub(super) fn quiet(y: f64, name: &'static str) -> Self {
        Self { y, name, is_marked: false }
    }

    /// A line that stands out.
    pub(super) fn marked(y: f64, name: &'static str) -> Self {
        Self { y, name, is_marked: true }
    }
}

/// The place of a panel.
struct Area<'a> {
    top: f64,
    x: &'a Ticks,
    y: Ticks,
}

impl Area<'_> {
    fn draw(&self, out: &mut String, panel: &Panel, is_share: bool) {
        let (right, bottom) = (WIDTH - RIGHT, self.top + PANEL);
        text(out, (LEFT, self.top - 9.0), "name", "start", &cut(&panel.name, LINE_CELLS));
        for &tick in &self.x.at {
            let x = self.x(tick);
            line(out, "grid", (x, self.top), (x, bottom));
            line(out, "frame", (x, bottom), (x, bottom + 5.0));
            text(out, (x, bottom + 18.0), "muted", "middle", &self.x.label(tick, is_share));
        }
        for &tick in &self.y.at {
            let y = self.y(tick);
            line(out, "grid", (LEFT, y), (right, y));
            line(out, "frame", (LEFT - 5.0, y), (LEFT, y));
            text(out, (LEFT - 9.0, y + 4.0), "muted", "end", &self.y.label(tick, false));
        }
        for level in &panel.levels {
            // The names of two lines that are close do not touch.
            let (class, name, down) =
                if level.is_marked { ("mark", "marked", -1.0) } else { ("quiet", "muted", 9.0) };
            let y = self.y(level.y);
            line(out, class, (LEFT, y), (right, y));
            text(out, (right + 8.0, y + down), name, "start", level.name);
        }
        let _ = writeln!(
            out,
            "<rect class=\"frame\" x=\"{LEFT}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{PANEL}\"/>",
            self.top,
            right - LEFT
        );
        for (at, Curve(points)) in panel.curves.iter().enumerate() {
            let path: Vec<String> = points
                .iter()
                .map(|&(x, y, _)| format!("{:.1},{:.1}", self.x(x), self.y(y)))
                .collect();
            let _ = writeln!(
                out,
                "<polyline class=\"curve\" {} points=\"{}\"/>",
                stroke(at),
                path.join(" ")
            );
            for (x, y, strength) in points {
                let _ = writeln!(
                    out,
                    "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3.5\" fill=\"{}\"><title>{}: {y:.3}</title>\
                     </circle>",
                    self.x(*x),
                    self.y(*y),
                    COLOURS[at % COLOURS.len()],
                    escaped(strength),
                );
            }
        }
    }

    fn x(&self, value: f64) -> f64 {
        LEFT + share(self.x, value) * (WIDTH - RIGHT - LEFT)
    }

    fn y(&self, value: f64) -> f64 {
        self.top + (1.0 - share(&self.y, value)) * PANEL
    }
}

/// The place of a value on an axis, from 0 to 1.
fn share(axis: &Ticks, value: f64) -> f64 {
    (value - axis.from) / (axis.to - axis.from)
}

fn x_axis(chart: &Chart) -> Ticks {
    let curves = chart.panels.iter().flat_map(|panel| &panel.curves);
    axis(curves.flat_map(|Curve(points)| points).map(|&(x, ..)| x), 0.03, 8)
}

fn y_axis(panel: &Panel) -> Ticks {
    let points = panel.curves.iter().flat_map(|Curve(points)| points).map(|&(_, y, _)| y);
    axis(points.chain(panel.levels.iter().map(|level| level.y)), 0.08, 5)
}

/// An axis for `values` with a margin on both sides, a fraction of their spread.
fn axis(values: impl Iterator<Item = f64>, margin: f64, ticks: usize) -> Ticks {
    let values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
    let from = values.iter().copied().reduce(f64::min).unwrap_or(0.0);
    let to = values.iter().copied().reduce(f64::max).unwrap_or(0.0);
    Ticks::new(from - margin * (to - from), to + margin * (to - from), ticks)
}

/// The attributes of the line of a curve.
fn stroke(at: usize) -> String {
    let dashes = DASHES[at / COLOURS.len() % DASHES.len()];
    format!("stroke=\"{}\" stroke-dasharray=\"{dashes}\"", COLOURS[at % COLOURS.len()])
}

fn line(out: &mut String, class: &str, from: (f64, f64), to: (f64, f64)) {
    let _ = writeln!(
        out,
        "<line class=\"{class}\" x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\"/>",
        from.0, from.1, to.0, to.1
    );
}

fn text(out: &mut String, (x, y): (f64, f64), class: &str, anchor: &str, text: &str) {
    let _ = writeln!(
        out,
        "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>",
        escaped(text)
    );
}

#[cfg(test)]
mod tests {
    use roxmltree::{Document, Node};

    use super::*;

    const HOSTILE: &str = "</text><script>alert(1)</script> ]]> &#0; \u{1}\u{ffff}";

    fn chart() -> Chart {
        let curve = |points: &[(f64, f64)]| {
            Curve(points.iter().map(|&(x, y)| (x, y, format!("{x}"))).collect())
        };
        let curves = vec![curve(&[(0.0, 1.0), (0.2, 3.0)]), curve(&[(0.0, 1.0), (0.1, -1.0)])];
        let panel = |name: &str| Panel {
            name: name.to_owned(),
            levels: vec![Level::marked(2.0, "texts break")],
            curves: curves.clone(),
        };
        Chart {
            title: HOSTILE.to_owned(),
            x_name: "strength".to_owned(),
            is_share: true,
            names: vec!["a feature".to_owned(), HOSTILE.to_owned()],
            panels: vec![panel("metric"), panel(HOSTILE)],
        }
    }

    fn number(node: &Node<'_, '_>, name: &str) -> f64 {
        node.attribute(name).unwrap().parse().unwrap()
    }

    #[test]
    fn larger_values_are_higher_and_stronger_points_further_right() {
        let svg = draw(&chart());
        let document = Document::parse(&svg).unwrap();

        let circles: Vec<(f64, f64)> = document
            .descendants()
            .filter(|node| node.has_tag_name("circle"))
            .map(|node| (number(&node, "cx"), number(&node, "cy")))
            .collect();
        assert_eq!(circles.len(), 8);
        let [low, high, _, negative] = circles[..4] else { panic!("{circles:?}") };
        assert!(high.1 < low.1 && low.1 < negative.1, "{circles:?}");
        assert!((2.0 * (negative.0 - low.0) - (high.0 - low.0)).abs() < 0.2, "{circles:?}");
        // The level 2 is in the middle between 1 and 3.
        let level = document.descendants().find(|node| node.attribute("class") == Some("mark"));
        let level = number(&level.unwrap(), "y1");
        assert!((level - f64::midpoint(low.1, high.1)).abs() < 0.2, "{level}, {circles:?}");
    }

    #[test]
    fn axes_have_names_and_ticks_and_each_curve_a_colour_of_its_own() {
        let svg = draw(&chart());
        let document = Document::parse(&svg).unwrap();

        let texts: Vec<&str> = document
            .descendants()
            .filter(|node| node.has_tag_name("text"))
            .filter_map(|node| node.text())
            .collect();
        for shown in ["a feature", "metric", "strength", "texts break", "0 %", "20 %", "3"] {
            assert!(texts.contains(&shown), "{shown}: {texts:?}");
        }
        let stroke = |node: &Node<'_, '_>| node.attribute("stroke").map(str::to_owned);
        let curves: Vec<_> = document
            .descendants()
            .filter(|node| node.has_tag_name("polyline"))
            .filter_map(|node| stroke(&node))
            .collect();
        assert_eq!(curves, [COLOURS[0], COLOURS[1], COLOURS[0], COLOURS[1]]);
    }

    #[test]
    fn hostile_names_are_text() {
        let svg = draw(&chart());

        let document = Document::parse(&svg).unwrap();
        assert!(document.descendants().all(|node| !node.has_tag_name("script")));
        let texts = document.descendants().filter(|node| node.has_tag_name("text"));
        let texts: String = texts.filter_map(|node| node.text()).collect();
        assert_eq!(texts.matches("</text><script>alert(1)</script> ]]> &#0;").count(), 3);
        let found = svg.replace("http://www.w3.org/2000/svg", "");
        for outside in ["href", "url(", "import", "http://", "\u{1}", "\u{ffff}"] {
            assert!(!found.contains(outside), "{outside}");
        }
    }

    #[test]
    fn a_chart_without_points_is_drawn() {
        let mut chart = chart();
        for panel in &mut chart.panels {
            panel.curves = vec![Curve(Vec::new())];
        }

        let svg = draw(&chart);
        assert!(Document::parse(&svg).is_ok() && !svg.contains("NaN"), "{svg}");
    }
}
