//! `metrics.jsonl`: one line per logged step.

use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use nanoscope_hooks::HookPoint;
use serde_json::{Map, Value, json};

use super::run_error::RunError;
use super::validate::Validation;
use crate::StepReport;

/// Maximum length of a line, which has a few hundred bytes per hook point.
const MAX_LINE_BYTES: u64 = 16 << 20;

/// The metrics file, open at its end.
#[derive(Debug)]
pub(crate) struct Metrics {
    path: PathBuf,
    file: File,
}

/// The metrics of one hook point on one line, where present.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Point {
    pub(crate) step: u64,
    pub(crate) train: [Option<f64>; 4],
    pub(crate) validation: [Option<f64>; 4],
}

/// Names of the values in a [`Point`], in order.
pub(crate) const CURVES: [&str; 4] = ["loss", "explained_variance", "l0", "dead"];

impl Metrics {
    /// Opens the file at `path` and truncates it after the line of `step`, so that a resumed run
    /// does not repeat lines.
    pub(crate) fn open(path: &Path, step: u64) -> Result<Self, RunError> {
        let io = |source| RunError::io(path, source);
        let mut options = File::options();
        let mut file =
            options.read(true).write(true).create(true).truncate(false).open(path).map_err(io)?;
        let mut end = 0;
        each_line(&file, path, &mut |line, to| {
            let is_before = line["step"].as_u64().is_some_and(|at| at <= step);
            if is_before {
                end = to;
            }
            is_before
        })?;
        file.set_len(end).and_then(|()| file.seek(SeekFrom::Start(end))).map_err(io)?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// Appends a line. `time` holds the values that differ between identical runs.
    pub(crate) fn add(
        &mut self,
        hooks: &[HookPoint],
        tokens: u64,
        reports: &[StepReport],
        validation: Option<&[Validation]>,
        time: Value,
    ) -> Result<(), RunError> {
        let mut train = Map::new();
        for (hook, report) in hooks.iter().zip(reports) {
            let mut numbers = json!(report);
            if let Some(numbers) = numbers.as_object_mut() {
                numbers.shift_remove("step");
            }
            train.insert(hook.to_string(), numbers);
        }
        let step = reports.first().map_or(0, |report| report.step);
        let mut line = json!({ "step": step, "tokens": tokens, "train": train });
        if let Some(validation) = validation {
            let of =
                |(hook, numbers): (&HookPoint, &Validation)| (hook.to_string(), json!(numbers));
            let numbers: Map<_, _> = hooks.iter().zip(validation).map(of).collect();
            line["validation"] = numbers.into();
        }
        line["time"] = time;
        let text = format!("{line}\n");
        self.file.write_all(text.as_bytes()).map_err(|source| RunError::io(&self.path, source))
    }

    /// Flushes all lines to disk.
    pub(crate) fn sync(&self) -> Result<(), RunError> {
        self.file.sync_data().map_err(|source| RunError::io(&self.path, source))
    }
}

/// Reads the metrics of `hooks` from the file at `path`.
pub(crate) fn read(path: &Path, hooks: &[HookPoint]) -> Result<Vec<Vec<Point>>, RunError> {
    let file = File::open(path).map_err(|source| RunError::io(path, source))?;
    let names: Vec<String> = hooks.iter().map(ToString::to_string).collect();
    let mut points = vec![Vec::new(); hooks.len()];
    each_line(&file, path, &mut |line, _| {
        for (name, points) in names.iter().zip(&mut points) {
            let numbers = |part: &str| CURVES.map(|curve| line[part][name][curve].as_f64());
            let step = line["step"].as_u64().unwrap_or(0);
            points.push(Point { step, train: numbers("train"), validation: numbers("validation") });
        }
        true
    })?;
    Ok(points)
}

/// Calls `each` with each line and its end position, until a line is incomplete or `each` returns
/// false.
fn each_line(
    file: &File,
    path: &Path,
    each: &mut dyn FnMut(&Value, u64) -> bool,
) -> Result<(), RunError> {
    let mut lines = BufReader::new(file);
    let (mut end, mut text) = (0, Vec::new());
    loop {
        text.clear();
        let read = std::io::Read::take(&mut lines, MAX_LINE_BYTES).read_until(b'\n', &mut text);
        end += read.map_err(|source| RunError::io(path, source))? as u64;
        let whole = text.strip_suffix(b"\n").and_then(|line| serde_json::from_slice(line).ok());
        match whole {
            Some(line) if each(&line, end) => {}
            _ => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn report(step: u64) -> StepReport {
        StepReport {
            step,
            loss: 1.0 / step as f64,
            mse: 0.5,
            sparsity: 0.0,
            aux: 0.0,
            explained_variance: 0.75,
            l0: 4.0,
            dead: 3,
            lr: 1e-3,
            grad_norm: 2.0,
        }
    }

    const HOOKS: [HookPoint; 1] = [HookPoint::ResidPost(0)];

    #[test]
    fn opened_again_the_file_ends_at_the_step_and_goes_on_from_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.jsonl");
        let mut metrics = Metrics::open(&path, 0).unwrap();
        for step in 1..=5 {
            metrics.add(&HOOKS, step, &[report(step)], None, json!({})).unwrap();
        }
        let whole = fs::read_to_string(&path).unwrap();
        // As if the process had been killed while writing.
        fs::write(&path, format!("{whole}{{\"step\":6,")).unwrap();

        let mut metrics = Metrics::open(&path, 3).unwrap();
        for step in 4..=5 {
            metrics.add(&HOOKS, step, &[report(step)], None, json!({})).unwrap();
        }

        assert_eq!(fs::read_to_string(&path).unwrap(), whole);
        let points = read(&path, &HOOKS).unwrap();
        assert_eq!(points[0][3].train, [Some(0.25), Some(0.75), Some(4.0), Some(3.0)]);
        assert_eq!(points[0][3].validation, [None; 4]);
    }
}
