//! `--heatmap` of `nanoscope generate` and `nanoscope run`.

use std::collections::BTreeMap;
use std::fs;
use std::io::Cursor;

use roxmltree::{Document, Node};
use tempfile::TempDir;

use crate::{GREEDY, OPENING, failure, nanoscope, stdout};

/// The heat map that a greedy story has as `name`, drawn with `more` flags.
fn heat_map(name: &str, more: &[&str]) -> Vec<u8> {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join(name);
    let flags = ["generate", "--prompt", OPENING, "--heatmap", path.to_str().unwrap()];
    let said = stdout(&[&flags[..], &GREEDY, more].concat());
    assert!(said.contains("heat map written to"), "{said}");
    fs::read(path).unwrap()
}

/// A cell of an SVG.
#[derive(Debug, Clone, PartialEq)]
struct Cell {
    x: usize,
    y: usize,
    opacity: f32,
    token: String,
    value: f32,
    feature: String,
}

fn title(node: Node<'_, '_>) -> Option<String> {
    node.children().find(|child| child.has_tag_name("title"))?.text().map(str::to_owned)
}

/// The cells of an SVG, without those of the legend.
fn cells(svg: &Document<'_>) -> Vec<Cell> {
    let number = |node: Node<'_, '_>, name: &str| node.attribute(name).unwrap().parse().unwrap();
    let cell = |node: Node<'_, '_>| {
        let title = title(node)?;
        let [token, value, feature] = title.splitn(3, "  ").collect::<Vec<_>>().try_into().ok()?;
        Some(Cell {
            x: number(node, "x"),
            y: number(node, "y"),
            opacity: node.attribute("fill-opacity")?.parse().ok()?,
            token: token.to_owned(),
            value: value.parse().ok()?,
            feature: feature.split(' ').next()?.to_owned(),
        })
    };
    svg.descendants().filter(|node| node.has_tag_name("rect")).filter_map(cell).collect()
}

#[test]
fn an_svg_has_the_strongest_features_over_all_tokens() {
    let svg = String::from_utf8(heat_map("map.svg", &["--top", "5"])).unwrap();
    let svg = Document::parse(&svg).unwrap();
    let cells = cells(&svg);

    let mut by_feature: BTreeMap<&str, Vec<&Cell>> = BTreeMap::new();
    for cell in &cells {
        by_feature.entry(&cell.feature).or_default().push(cell);
    }
    assert_eq!(by_feature.len(), 5, "{by_feature:?}");
    let texts: Vec<&str> = svg
        .descendants()
        .filter(|node| node.has_tag_name("text"))
        .filter_map(|node| node.text())
        .collect();
    for token in ["<|bos|>", "Once", "·upon", "·time", "·there", "·girl"] {
        assert!(texts.contains(&token), "{token}: {texts:?}");
    }
    assert!(texts.contains(&"blocks.3.hook_resid_post"), "{texts:?}");
    for feature in by_feature.keys() {
        assert!(texts.iter().any(|text| text.starts_with(feature)), "{feature}: {texts:?}");
    }

    // The table of the same story has the same features and activations.
    let args = ["generate", "--prompt", OPENING, "--table", "-", "--table-format", "jsonl"];
    let table = crate::lines(&stdout(&[&args[..], &GREEDY].concat()));
    let largest = |feature: u64| {
        let rows = table.iter().filter(|row| row["feature"] == feature && row["position"] != 0);
        rows.map(|row| row["activation"].as_f64().unwrap() as f32).fold(0.0, f32::max)
    };
    let mut strongest: Vec<(u64, f32)> = (0..2048).map(|at| (at, largest(at))).collect();
    strongest.sort_by(|a, b| b.1.total_cmp(&a.1));
    for (feature, value) in &strongest[..5] {
        let of_row = &by_feature[format!("#{feature}").as_str()];
        let of_text = of_row.iter().filter(|cell| cell.token != "<|bos|>");
        let drawn = of_text.map(|cell| cell.value).fold(0.0, f32::max);
        assert!((drawn - value).abs() < 0.06, "#{feature}: {drawn}, {value}");
        let rows = table.iter().filter(|row| row["feature"] == *feature).count();
        assert_eq!(of_row.len(), rows, "#{feature}");
    }
    let mut ordered = cells.clone();
    ordered.sort_by(|a, b| a.value.total_cmp(&b.value));
    assert!(ordered.is_sorted_by(|a, b| a.opacity <= b.opacity), "{ordered:?}");
    assert!(ordered[0].opacity < ordered.last().unwrap().opacity);
}

#[test]
fn a_png_has_the_same_cells_and_the_larger_are_darker() {
    let svg = String::from_utf8(heat_map("map.svg", &[])).unwrap();
    let png = heat_map("map.PNG", &[]);
    let svg = Document::parse(&svg).unwrap();
    let mut reader = png::Decoder::new(Cursor::new(png)).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();

    let size = |name: &str| svg.root_element().attribute(name).unwrap().parse::<u32>().unwrap();
    assert_eq!((info.width, info.height), (2 * size("width"), 2 * size("height")));
    let brightness = |x: usize, y: usize| {
        let at = (2 * y * info.width as usize + 2 * x) * 3;
        pixels[at..at + 3].iter().copied().map(u32::from).sum::<u32>()
    };
    let mut cells = cells(&svg);
    cells.sort_by(|a, b| a.value.total_cmp(&b.value));
    assert!(cells.len() > 30, "{}", cells.len());
    let drawn: Vec<u32> = cells.iter().map(|cell| brightness(cell.x + 3, cell.y + 3)).collect();
    assert!(drawn.is_sorted_by(|a, b| a >= b), "{drawn:?}");
    assert!(drawn.first() > drawn.last(), "{drawn:?}");
    // The page itself is white.
    assert_eq!(brightness(1, 1), 3 * 255);
}

#[test]
fn a_text_is_plain_in_files_and_pipes_and_in_place_of_the_lines_on_stdout() {
    let file = String::from_utf8(heat_map("map.txt", &["--top", "3"])).unwrap();
    let args = ["generate", "--prompt", OPENING, "--heatmap", "-", "--top", "3"];
    let run = nanoscope(&[&args[..], &GREEDY].concat()).success();

    assert_eq!(run.stdout, file);
    assert!(file.starts_with("blocks.3.hook_resid_post  0 ░▒▓█ "), "{file}");
    assert!(file.contains("<|bos|> Once ·upon"), "{file}");
    assert!(file.contains('█') && !file.contains('\u{1b}'), "{file}");
    assert!(file.lines().all(|line| line.chars().count() <= 100), "{file}");
    assert!(run.stderr.contains("Once upon a time, there was"), "{}", run.stderr);
}

#[test]
fn chosen_features_are_drawn_in_their_order_and_tracked_for_it() {
    let args = ["run", "--prompt", "The dog barked.", "--heatmap", "-"];
    let chosen = ["--heatmap-feature", "1909", "--heatmap-feature", "blocks.0.hook_resid_post:3"];
    let map = stdout(&[&args[..], &chosen].concat());

    let rows: Vec<&str> = map.lines().filter(|line| line.starts_with('#')).collect();
    assert!(rows.len() == 2 && rows[0].starts_with("#1909"), "{map}");
    assert!(rows[1].starts_with("#3"), "{map}");
    assert!(rows[0].contains(['░', '▒', '▓', '█']), "{map}");
    assert_eq!(map.matches("blocks.0.hook_resid_post").count(), 2, "{map}");
}

#[test]
fn each_row_of_a_batch_has_its_own_columns() {
    let dir = TempDir::new().unwrap();
    let tokens = dir.path().join("tokens.json");
    fs::write(&tokens, "[[5, 700, 11], [17, 1900, 23]]").unwrap();

    let map = stdout(&["run", "--tokens-file", tokens.to_str().unwrap(), "--heatmap", "-"]);

    assert!(map.contains("\nrow 0\n") && map.contains("\nrow 1\n"), "{map}");
    let (first, second) = map.split_once("\nrow 1\n").unwrap();
    for part in [first, second] {
        assert!(
            part.lines().any(|line| line.starts_with('#') && line.contains(['▒', '▓', '█'])),
            "{map}"
        );
    }
}

#[test]
fn tokens_that_look_like_markup_are_text() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("map.svg");
    let text = "<script>alert('&amp;')</script> \u{202e}x\u{7}\n";
    stdout(&["run", "--prompt", text, "--heatmap", path.to_str().unwrap()]);

    let svg = fs::read_to_string(&path).unwrap();

    let document = Document::parse(&svg).unwrap();
    assert!(document.descendants().all(|node| !node.has_tag_name("script")), "{svg}");
    let texts: String = document
        .descendants()
        .filter(|node| node.has_tag_name("text"))
        .filter_map(|node| node.text())
        .collect();
    assert!(texts.contains('<') && texts.contains('&') && texts.contains('↵'), "{texts}");
    assert!(!svg.contains(['\u{202e}', '\u{7}']), "{svg}");
}

#[test]
fn a_heat_map_that_cannot_be_drawn_is_refused() {
    let generate = |args: &[&str]| failure(&[&["generate", "--max-tokens", "2"], args].concat());

    let (said, code) = generate(&["--heatmap", "map.gif"]);
    assert!(said.contains(".txt, .svg or .png") && code == 2, "{said}");
    let (said, code) = generate(&["--heatmap-feature", "1909"]);
    assert!(said.contains("--heatmap <FILE>") && code == 2, "{said}");
    let (said, _) = generate(&["--heatmap", "-", "--heatmap-feature", "2048"]);
    assert!(said.contains("feature 2048 is out of range"), "{said}");
    let (said, _) = generate(&["--heatmap", "-", "--json"]);
    assert!(said.contains("--json and --heatmap both write to stdout"), "{said}");
    let (said, _) = generate(&["--heatmap", "no/such/map.svg"]);
    assert!(said.contains("no/such/map.svg"), "{said}");
    let head = crate::golden("head");
    let (said, _) = failure(&["run", "--model", &head, "--tokens", "1", "--heatmap", "-"]);
    assert!(said.contains("without an SAE") && said.contains("nanoscope train"), "{said}");
}
