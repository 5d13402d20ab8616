//! Every command that writes a file or a folder, onto every kind of place.

#![cfg(unix)]

mod files;
mod folders;
mod home;
mod signals;

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use nanoscope_testing::Outcome;

use crate::nanoscope;

/// The names in `dir` that are not hidden and not the configuration that `convert` adds.
fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name != "config.json");
    names.sort();
    names
}

fn mkfifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// A run of the program through `launcher`, a program that starts another with these arguments.
fn launched(launcher: &[&str], args: &[String]) -> Outcome {
    let mut command = Command::new(launcher[0]);
    let program = nanoscope(&[]).into_command();
    command.args(&launcher[1..]).arg(program.get_program()).args(args);
    for (name, value) in program.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    Outcome::new(command.output().unwrap())
}

/// Starts a program that cannot write files of more than some bytes, so that a write fails in the middle
/// of a file as on a full disk.
const SMALL_FILES: [&str; 3] = ["sh", "-c", "trap '' XFSZ; ulimit -f 1; exec \"$0\" \"$@\""];

/// The launcher of a program that the permissions of files bind: none is needed for an ordinary user, and
/// root loses the capability to pass over them. None if that is not possible here.
fn bound_by_permissions(dir: &Path) -> Option<&'static [&'static str]> {
    let probe = dir.join("probe");
    fs::write(&probe, "").unwrap();
    fs::set_permissions(&probe, Permissions::from_mode(0o444)).unwrap();
    let bound = File::options().write(true).open(&probe).is_err();
    fs::remove_file(&probe).unwrap();
    let without: &[&str] = &["setpriv", "--bounding-set", "-dac_override,-dac_read_search"];
    if bound {
        return Some(&["env"]);
    }
    let possible = Command::new(without[0]).args(&without[1..]).arg("true").status();
    if possible.is_ok_and(|status| status.success()) {
        return Some(without);
    }
    eprintln!("this user is not bound by permissions: read-only places are not refused");
    None
}
