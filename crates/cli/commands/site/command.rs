//! Writes the site.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use nanoscope_checkpoint::check_output_folder;
use nanoscope_server::Topic;
use serde::{Deserialize, Serialize};

use super::args::SiteArgs;
use super::pages::pages;
use super::program::{CPU, GPU, Program, programs};
use super::store::{self, SiteFile, store};
use crate::demo;
use crate::preflight::output_folder;
use crate::write_file::write_file;

/// The list of the site's files, which the worker reads first.
const MANIFEST: &str = "site.json";
const FORMAT: &str = "nanoscope-site";

#[derive(Debug, Serialize)]
struct Manifest {
    format: &'static str,
    version: &'static str,
    /// The name of the model.
    name: &'static str,
    topics: Vec<Topic>,
    program: SiteFile,
    /// The program that runs on a GPU, downloaded by those who choose it.
    gpu: Option<SiteFile>,
    model: Vec<SiteFile>,
    /// The page starts with the first, and loads the others when they are asked for.
    saes: Vec<SiteSae>,
}

/// An SAE, as the worker downloads it.
#[derive(Debug, Serialize)]
struct SiteSae {
    hook: String,
    files: Vec<SiteFile>,
}

pub(crate) fn site(args: &SiteArgs) -> Result<()> {
    let out = output_folder(&args.out)?;
    check_output_folder(&out, is_ours)?;
    let (cpu, gpu) = programs(args.browser.as_deref())?;
    let pages = pages()?;
    let write = |path: &str, bytes: &[u8]| write_file(&out.join(path), bytes);

    let (mut model, mut saes) = (Vec::new(), Vec::<SiteSae>::new());
    for (path, bytes) in demo::files()? {
        let file = store(&out, path, bytes)?;
        if !Path::new(path).starts_with(demo::SAES) {
            model.push(file);
            continue;
        }
        // The configuration comes first of the files of an SAE.
        if path.ends_with("/cfg.json") {
            saes.push(SiteSae { hook: hook(bytes)?, files: Vec::new() });
        }
        saes.last_mut().context("the demo's SAEs have no configuration")?.files.push(file);
    }
    // The topics of the page are features of the last layer.
    saes.reverse();
    let (name, topics, format) = ("demo", demo::topics()?, FORMAT);
    let version = env!("CARGO_PKG_VERSION");
    let compiled = |program: &Program, name: &str| {
        write(&format!("assets/site/{name}.js"), program.glue.as_bytes())?;
        store(&out, "program.wasm", &program.wasm)
    };
    let program = compiled(&cpu, CPU)?;
    let gpu = gpu.map(|gpu| compiled(&gpu, GPU)).transpose()?;
    let manifest = Manifest { format, version, name, topics, program, gpu, model, saes };
    // The front page last, so that it never loads a file that is not there.
    let (front, assets): (Vec<_>, Vec<_>) =
        pages.into_iter().partition(|(path, _)| path == "index.html");
    let mut text = 0;
    for (path, page) in &assets {
        text += page.len();
        write(path, page.as_bytes())?;
    }
    let json = serde_json::to_vec_pretty(&manifest).context("could not write the list of files")?;
    write(MANIFEST, &json)?;
    // GitHub Pages would otherwise look for a site to generate.
    write(".nojekyll", b"")?;
    for (path, page) in &front {
        text += page.len();
        write(path, page.as_bytes())?;
    }
    let at_once = || {
        let first = manifest.saes.first().map(|sae| &sae.files).into_iter().flatten();
        [&manifest.program].into_iter().chain(&manifest.model).chain(first)
    };
    let others = || manifest.saes.iter().skip(1).flat_map(|sae| &sae.files);
    store::remove_others(&out, at_once().chain(others()).chain(&manifest.gpu))?;

    let sum =
        |files: &mut dyn Iterator<Item = &SiteFile>| files.map(|file| file.size).sum::<usize>();
    let megabytes = |bytes: usize| bytes as f64 / 1e6;
    let on_gpu = manifest.gpu.as_ref().map(|gpu| {
        format!("  program for GPUs: {:.1} MB, when it is chosen\n", megabytes(gpu.size))
    });
    let on_gpu = on_gpu.unwrap_or_default();
    writeln!(
        std::io::stdout(),
        "{}\n  download: {:.1} MB (program {:.1}, model {:.1}, one SAE {:.1}, page {:.1} before compression)\n  \
         other SAEs: {:.1} MB, when they are asked for\n{}  \
         to try it: python3 -m http.server --directory {}",
        out.display(),
        megabytes(sum(&mut at_once()) + text),
        megabytes(manifest.program.size),
        megabytes(sum(&mut manifest.model.iter())),
        megabytes(sum(&mut manifest.saes.iter().take(1).flat_map(|sae| &sae.files))),
        megabytes(text),
        megabytes(sum(&mut others())),
        on_gpu,
        out.display(),
    )?;
    Ok(())
}

/// The hook point in the configuration of an SAE of the demo.
fn hook(cfg: &[u8]) -> Result<String> {
    #[derive(Deserialize)]
    struct Config {
        metadata: Metadata,
    }
    #[derive(Deserialize)]
    struct Metadata {
        hook_name: String,
    }
    let config: Config = serde_json::from_slice(cfg).context("an SAE of the demo is damaged")?;
    Ok(config.metadata.hook_name)
}

/// Returns whether this command wrote the folder, or began to.
fn is_ours(dir: &Path) -> bool {
    #[derive(Deserialize)]
    struct Head {
        format: String,
    }
    let manifest = fs::read(dir.join(MANIFEST)).ok();
    let head = manifest.and_then(|json| serde_json::from_slice::<Head>(&json).ok());
    head.is_some_and(|head| head.format == FORMAT)
}
