//! The operations of a step on a GPU: their number, and that none of them is compiled anew in each step.

use std::path::Path;
use std::process::Command;
use std::time::Duration;
use std::{env, fs, thread};

use nanoscope_hooks::HookPoint;
use nanoscope_runtime::{InterpretableModel, Plan, Sampling};
use nanoscope_testing::{TINY_SHAPE, identity_sae, test_device, tiny_gpt};
use nanoscope_transformer::GptShape;
use tempfile::TempDir;

use crate::golden::on_gpu;

/// The variable that makes cubecl log what it compiles and runs. It is read once in a process.
const KERNELS: &str = "CUBECL_DEBUG_LOG";
/// The file that makes burn log its operations, in a process's current folder.
const BURN_CONFIG: &str = "burn.toml";
/// The log of operations, in the same folder.
const OPERATIONS: &str = "operations";
/// Steps that the prompt and the first tokens take to have every operation compiled.
const FIRST: usize = 12;
/// Steps within one block of 64 keys.
const STEPS: usize = 40;

/// The number of operations in a step of the model below on wgpu, as measured. Those that burn fuses are one.
const MOST: usize = 127;

/// The numbers of kernels that were compiled and run, and of the operations that they belong to. An operation is
/// one kernel or several, as cubecl has measured to be fastest on the machine at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Counts {
    compiled: usize,
    kernels: usize,
    operations: usize,
}

impl Counts {
    /// Counts the lines of the logs once nothing is added to them.
    fn read(kernels: &Path, operations: &Path) -> Self {
        let read = || [kernels, operations].map(|log| fs::read_to_string(log).unwrap());
        let mut texts = read();
        loop {
            thread::sleep(Duration::from_millis(500));
            let longer = read();
            if longer == texts {
                break;
            }
            texts = longer;
        }
        let [kernels, operations] = &texts;
        let count = |start: &str| kernels.lines().filter(|line| line.starts_with(start)).count();
        Self {
            compiled: count("[START_KERNEL_COMPILATION]"),
            kernels: count("| "),
            operations: count_operations(operations),
        }
    }
}

/// Counts the operations in the tables of burn's log: those that are fused as one, and none that moves no number.
fn count_operations(log: &str) -> usize {
    const FREE: [&str; 3] = ["Drop", "::Reshape ", "::SwapDims "];
    let is_row = |line: &&str| line.starts_with(|c: char| c.is_ascii_digit());
    let (mut count, mut fused) = (0, false);
    for row in log.lines().filter(is_row) {
        let begins = row.contains('▸');
        if begins {
            fused = row.contains("▸ fused");
        }
        let is_free = FREE.iter().any(|name| row.contains(name));
        count += usize::from(if fused { begins } else { !is_free });
    }
    count
}

#[test]
fn steps_within_a_block_of_keys_compile_nothing_and_run_the_same_operations() {
    if !on_gpu() {
        return;
    }
    let folder = TempDir::new().unwrap();
    let logger = format!("[fusion.logger]\nlevel = \"full\"\nfile = \"{OPERATIONS}\"\n");
    fs::write(folder.path().join(BURN_CONFIG), logger).unwrap();
    let output = Command::new(env::current_exe().unwrap())
        .args(["--ignored", "--exact", "dispatches::steps_with_a_log", "--nocapture"])
        .current_dir(folder.path())
        .env(KERNELS, folder.path().join("kernels"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    println!("{said}");
}

/// Run by the test above in a process of its own.
#[test]
#[ignore = "run by another test, with a log"]
fn steps_with_a_log() {
    let log = env::var_os(KERNELS).expect("the log has a name");
    let device = test_device();
    let shape = GptShape { sequence_len: 64, ..TINY_SHAPE };
    let hooks = [HookPoint::ResidPost(0), HookPoint::ResidPost(1)];
    let mut model = InterpretableModel::new(tiny_gpt(shape, &device));
    for hook in hooks {
        model = model.with_sae(hook, identity_sae(shape.n_embd, 4, &device)).unwrap();
    }
    let plan = Plan::new().track_all();
    let mut generation =
        model.generate(&[3, 1, 4], &plan, &Sampling::greedy(FIRST + STEPS)).unwrap();
    let mut steps = |count: usize| {
        assert_eq!(generation.by_ref().take(count).count(), count);
        Counts::read(Path::new(&log), Path::new(OPERATIONS))
    };

    let first = steps(FIRST);
    let half = steps(STEPS / 2);
    let all = steps(STEPS / 2);

    let run = all.operations - half.operations;
    println!("{first:?}, {half:?}, {all:?}: {run} operations in {} steps", STEPS / 2);
    assert!(first.compiled > 10 && all.kernels > 100, "a log has another form: {all:?}");
    assert!(run > 10 * STEPS / 2, "a log has another form: {all:?}");
    assert_eq!(all.compiled, half.compiled, "a step compiles");
    let (later, earlier) = (all.kernels - half.kernels, half.kernels - first.kernels);
    assert_eq!(later, earlier, "the number of kernels changes");
    assert_eq!(run, half.operations - first.operations, "the number of operations changes");
    assert!(run <= MOST * STEPS / 2, "{run} operations in {} steps", STEPS / 2);
}
