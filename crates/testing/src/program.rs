use std::ffi::OsStr;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

/// A run of the `nanoscope` program that this test or bench was built with: `nanoscope!()`.
///
/// A macro, because only the tests of the program's own package know where it is. The demo is
/// unpacked in the target folder, once for all tests.
#[macro_export]
macro_rules! nanoscope {
    () => {
        $crate::Nanoscope::new(env!("CARGO_BIN_EXE_nanoscope"), env!("CARGO_TARGET_TMPDIR"))
    };
}

/// A run of the program before it starts; made by [`nanoscope!`].
///
/// Its output has no colours. The API keys of whoever runs the tests are not passed on.
#[derive(Debug)]
pub struct Nanoscope {
    command: Command,
}

impl Nanoscope {
    /// A run of `program`, which keeps its cache, and what users save by default, in `cache`.
    pub fn new(program: impl AsRef<OsStr>, cache: impl AsRef<Path>) -> Self {
        let mut command = Command::new(program);
        command.env("XDG_CACHE_HOME", cache.as_ref());
        command.env("XDG_DATA_HOME", cache.as_ref().join("data"));
        command.env("NO_COLOR", "1").env_remove("NANOSCOPE_API_KEY");
        command.env_remove("OPENAI_API_KEY");
        Self { command }
    }

    /// Appends arguments.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.command.args(args);
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Runs the program in `dir` instead of the package's root.
    #[must_use]
    pub fn current_dir(mut self, dir: impl AsRef<Path>) -> Self {
        self.command.current_dir(dir);
        self
    }

    /// The process to start, for a test that holds its streams itself.
    pub fn into_command(self) -> Command {
        self.command
    }

    /// Runs the program until it ends.
    ///
    /// # Panics
    /// If it does not start, or writes what is not UTF-8.
    #[track_caller]
    pub fn run(mut self) -> Outcome {
        Outcome::new(self.command.output().expect("the program was built for this test"))
    }

    /// Runs the program with `input` on its standard input.
    ///
    /// # Panics
    /// If it does not start or does not read, or writes what is not UTF-8.
    #[track_caller]
    pub fn run_with_input(mut self, input: &[u8]) -> Outcome {
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.spawn();
        child.stdin.take().expect("it was piped").write_all(input).expect("it reads its input");
        Outcome::new(child.wait_with_output().expect("it was started"))
    }

    /// Runs the program, which must succeed.
    ///
    /// # Panics
    /// If it fails.
    #[track_caller]
    pub fn success(self) -> Outcome {
        let args = self.arguments();
        let outcome = self.run();
        assert_eq!(outcome.code, Some(0), "{args}: {}", outcome.stderr);
        outcome
    }

    /// Runs the program, which must fail.
    ///
    /// # Panics
    /// If it succeeds.
    #[track_caller]
    pub fn failure(self) -> Outcome {
        let args = self.arguments();
        let outcome = self.run();
        assert_ne!(outcome.code, Some(0), "{args} should have failed: {}", outcome.stderr);
        outcome
    }

    /// Starts the program and goes on.
    ///
    /// # Panics
    /// If it does not start.
    #[track_caller]
    pub fn spawn(mut self) -> Child {
        self.command.spawn().expect("the program was built for this test")
    }

    /// Runs the program, which must succeed, without its output, and returns the most memory that it
    /// had at once, in bytes.
    ///
    /// # Panics
    /// If it fails.
    #[cfg(target_os = "linux")]
    #[track_caller]
    pub fn peak_memory(mut self) -> u64 {
        self.command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = self.spawn();
        let path = format!("/proc/{}/status", child.id());
        let mut peak = 0;
        loop {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
            peak = peak.max(kibibytes.unwrap_or(0_u64) << 10);
            if let Some(status) = child.try_wait().expect("it was started") {
                assert!(status.success(), "{status}");
                return peak;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    fn arguments(&self) -> String {
        let args = self.command.get_args().map(OsStr::to_string_lossy);
        args.collect::<Vec<_>>().join(" ")
    }
}

/// The output and the exit code of a run.
#[derive(Debug)]
pub struct Outcome {
    /// The standard output.
    pub stdout: String,
    /// The standard error.
    pub stderr: String,
    /// The exit code; none if a signal ended the run.
    pub code: Option<i32>,
}

impl Outcome {
    /// # Panics
    /// If a stream is not UTF-8.
    #[track_caller]
    pub fn new(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("the program writes UTF-8");
        Self {
            stdout: text(output.stdout),
            stderr: text(output.stderr),
            code: output.status.code(),
        }
    }
}
