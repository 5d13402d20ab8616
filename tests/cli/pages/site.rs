//! `nanoscope site`. `tests/other_tools/browser/site.test.js` uses the site in a browser.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::path::Path;

use flate2::read::GzDecoder;
use serde_json::Value;
use tempfile::TempDir;

use crate::{failure, stdout};

/// A folder as wasm-bindgen writes it, with the module `wasm`.
fn program(dir: &Path, wasm: &[u8]) -> String {
    let folder = dir.join("browser");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("nanoscope_browser_bg.wasm"), wasm).unwrap();
    fs::write(folder.join("nanoscope_browser.js"), "export class Server {}").unwrap();
    folder.to_str().unwrap().to_owned()
}

/// The files of the manifest with their unpacked contents.
fn contents(site: &Path) -> Vec<(String, Vec<u8>)> {
    let manifest: Value =
        serde_json::from_slice(&fs::read(site.join("site.json")).unwrap()).unwrap();
    let list = |of: &Value, name: &str| of[name].as_array().unwrap().clone();
    let of_saes = list(&manifest, "saes").into_iter().flat_map(|sae| list(&sae, "files"));
    let files = list(&manifest, "model").into_iter().chain(of_saes);
    files
        .chain([manifest["program"].clone()])
        .map(|file| {
            let bytes = fs::read(site.join(file["file"].as_str().unwrap())).unwrap();
            assert_eq!(file["size"], bytes.len(), "{file}");
            let mut content = Vec::new();
            if file["packed"] == true {
                GzDecoder::new(&*bytes).read_to_end(&mut content).unwrap();
            } else {
                content = bytes;
            }
            if file["split"] == true {
                let (first, second) = content.split_at(content.len().div_ceil(2));
                content = (0..content.len()).map(|at| [first, second][at % 2][at / 2]).collect();
            }
            (file["path"].as_str().unwrap().to_owned(), content)
        })
        .collect()
}

#[test]
fn the_site_has_the_program_the_model_and_a_page_that_loads_them_from_its_own_folder() {
    let dir = TempDir::new().unwrap();
    let wasm = [b"\0asm\x01\0\0\0".as_slice(), &[7; 4096]].concat();
    let (browser, site) = (program(dir.path(), &wasm), dir.path().join("a/site"));

    let said = stdout(&["site", "--out", site.to_str().unwrap(), "--browser", &browser]);

    assert!(said.contains("download: ") && said.contains("python3 -m http.server"), "{said}");
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo");
    let contents = contents(&site);
    assert_eq!(contents.len(), 3 + 4 * 4 + 1, "model, SAEs and program");
    for (path, content) in contents {
        let expected =
            if path == "program.wasm" { wasm.clone() } else { fs::read(demo.join(&path)).unwrap() };
        assert!(content == expected, "{path} has other content");
    }
    let index = fs::read_to_string(site.join("index.html")).unwrap();
    for part in index.split("\"assets/").skip(1) {
        let path = site.join("assets").join(part.split('"').next().unwrap());
        assert!(path.is_file(), "{}", path.display());
    }
    let glue = fs::read_to_string(site.join("assets/site/nanoscope_browser.js")).unwrap();
    assert_eq!(glue, "export class Server {}");
}

#[test]
fn the_program_for_gpus_is_in_the_site_if_it_is_in_the_folder() {
    let dir = TempDir::new().unwrap();
    let (browser, site) = (program(dir.path(), b"\0asm cpu"), dir.path().join("site"));
    let write = || stdout(&["site", "--out", site.to_str().unwrap(), "--browser", &browser]);
    let manifest =
        || -> Value { serde_json::from_slice(&fs::read(site.join("site.json")).unwrap()).unwrap() };
    assert!(!write().contains("GPU"));
    assert_eq!(manifest()["gpu"], Value::Null);

    let module = Path::new(&browser).join("nanoscope_browser_gpu_bg.wasm");
    fs::write(&module, b"\0asm gpu").unwrap();
    let error = failure(&["site", "--out", site.to_str().unwrap(), "--browser", &browser]).0;
    assert!(error.contains("nanoscope_browser_gpu.js"), "{error}");
    fs::write(Path::new(&browser).join("nanoscope_browser_gpu.js"), "export {}").unwrap();

    assert!(write().contains("program for GPUs: 0.0 MB, when it is chosen"));
    let file = manifest()["gpu"]["file"].as_str().unwrap().to_owned();
    assert_eq!(fs::read(site.join(file)).unwrap(), b"\0asm gpu");
    let glue = site.join("assets/site/nanoscope_browser_gpu.js");
    assert_eq!(fs::read_to_string(glue).unwrap(), "export {}");
}

#[test]
fn a_site_is_replaced_by_the_next_one_without_files_that_are_no_longer_used() {
    let dir = TempDir::new().unwrap();
    let site = dir.path().join("site");
    let write = |wasm: &[u8]| {
        let browser = program(dir.path(), wasm);
        stdout(&["site", "--out", site.to_str().unwrap(), "--browser", &browser]);
        let files = fs::read_dir(site.join("files")).unwrap();
        files.map(|file| file.unwrap().file_name()).collect::<BTreeSet<_>>()
    };
    let first = write(b"\0asm first");

    let second = write(b"\0asm second");

    assert_eq!((first.len(), second.len()), (20, 20));
    assert_eq!(first.intersection(&second).count(), 19, "only the program is another");
}

#[test]
fn without_the_program_or_with_something_else_the_error_says_what_to_do() {
    let dir = TempDir::new().unwrap();
    let out = dir.path().join("site").to_str().unwrap().to_owned();
    let site = |browser: &[&str]| failure(&[&["site", "--out", &out], browser].concat()).0;

    if cfg!(not(feature = "site")) {
        let error = site(&[]);
        assert!(error.contains("does not contain the program for browsers"), "{error}");
        assert!(error.contains("nanoscope site --help"), "{error}");
    }
    let error = site(&["--browser", dir.path().to_str().unwrap()]);
    assert!(error.contains("nanoscope_browser_bg.wasm; --browser is the folder"), "{error}");
    let error = site(&["--browser", &program(dir.path(), b"<html>")]);
    assert!(error.contains("is not a WebAssembly module"), "{error}");
    assert!(!Path::new(&out).exists(), "nothing was written");

    fs::create_dir(&out).unwrap();
    fs::write(Path::new(&out).join("thesis.tex"), "mine").unwrap();
    let error = site(&["--browser", &program(dir.path(), b"\0asm")]);
    assert!(error.contains("thesis.tex"), "{error}");
    assert_eq!(fs::read_dir(&out).unwrap().count(), 1);
}
