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

/// The variable by which cubecl is told to log what it compiles and runs. It is read once in a process.
const LOG: &str = "CUBECL_DEBUG_LOG";
/// Steps that the prompt and the first tokens take to have every operation compiled.
const FIRST: usize = 12;
/// Steps within one block of 64 keys.
const STEPS: usize = 40;

/// The number of operations in a step of the model below on wgpu, as measured.
const MOST: usize = 105;
/// Reductions in a step that are fused with what is before or after them.
const FUSED: usize = 8;
/// The most operations that run in the place of a fused reduction where cubecl has measured them to be faster,
/// which is so at times on a busy machine.
const UNFUSED: usize = 8;

/// The numbers of operations that were compiled and run, and of fused reductions among the latter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Counts {
    compiled: usize,
    run: usize,
    fused: usize,
}

impl Counts {
    /// Counts the lines of the log once nothing is added to it.
    fn read(log: &Path) -> Self {
        let mut text = fs::read_to_string(log).unwrap();
        loop {
            thread::sleep(Duration::from_millis(100));
            let longer = fs::read_to_string(log).unwrap();
            if longer.len() == text.len() {
                break;
            }
            text = longer;
        }
        let count = |start: &str| text.lines().filter(|line| line.starts_with(start)).count();
        let fused = ["ReduceKernelFused", "ReduceKernelBroadcasted"];
        let is_fused =
            |line: &&str| line.starts_with("| ") && fused.iter().any(|name| line.contains(name));
        Self {
            compiled: count("[START_KERNEL_COMPILATION]"),
            run: count("| "),
            fused: text.lines().filter(is_fused).count(),
        }
    }
}

#[test]
fn steps_within_a_block_of_keys_compile_nothing_and_run_the_same_operations() {
    if !on_gpu() {
        return;
    }
    let folder = TempDir::new().unwrap();
    let output = Command::new(env::current_exe().unwrap())
        .args(["--ignored", "--exact", "dispatches::steps_with_a_log", "--nocapture"])
        .env(LOG, folder.path().join("log"))
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
    let log = env::var_os(LOG).expect("the log has a name");
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
        Counts::read(Path::new(&log))
    };

    let first = steps(FIRST);
    let half = steps(STEPS / 2);
    let all = steps(STEPS / 2);

    let in_a_step = |all: usize, half: usize| (all - half) / (STEPS / 2);
    let (run, fused) = (in_a_step(all.run, half.run), in_a_step(all.fused, half.fused));
    println!("{first:?}, {half:?}, {all:?}: {run} operations in a step");
    assert!(first.compiled > 10 && run > 10, "the log has another form: {all:?}");
    assert_eq!(all.compiled, half.compiled, "a step compiles");
    assert_eq!(all.run - half.run, half.run - first.run, "the number of operations changes");
    let most = MOST + FUSED.saturating_sub(fused) * (UNFUSED - 1);
    assert!(run <= most, "{run} operations in a step, of them {fused} fused reductions");
}
