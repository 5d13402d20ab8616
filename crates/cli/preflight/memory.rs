//! Checks that work fits in memory.
//!
//! Linux ends a process that takes too much without a word. The memory that is left is therefore compared
//! with an estimate before the work.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use indicatif::BinaryBytes;

use crate::terminal::messages::Hint;

/// Checks that `needed` bytes fit in the memory that is left. `work` names what needs them, and `hint` the
/// flags that lower it. With `ignore`, nothing is checked.
///
/// # Errors
/// A [`Hint`] with both numbers. Where the memory that is left is not known there is none.
pub(crate) fn check_memory(work: &str, needed: u64, hint: &str, ignore: bool) -> Result<()> {
    match available(Path::new("/")) {
        Some(available) if needed > available && !ignore => {
            let text = format!(
                "{work} needs about {} of memory, and {} are available",
                BinaryBytes(needed),
                BinaryBytes(available)
            );
            let hint = format!("{hint}; --ignore-memory starts anyway");
            Err(Hint::new(text, hint).into())
        }
        _ => Ok(()),
    }
}

/// Returns whether a device computes in the machine's own memory.
pub(crate) fn is_cpu(device: &str) -> bool {
    !["cuda", "wgpu"].contains(&device)
}

/// The memory that this process can still take, in bytes: what the machine has left, and what the control
/// groups of the process allow. `root` is the root of the file system.
fn available(root: &Path) -> Option<u64> {
    let meminfo = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let machine = field(&meminfo, "MemAvailable:")?.checked_mul(1 << 10)?;
    Some(control_groups(root).into_iter().filter_map(|dir| left_in(&dir)).fold(machine, u64::min))
}

/// The folders of the control groups of this process and of those above them.
fn control_groups(root: &Path) -> Vec<PathBuf> {
    let mounted = root.join("sys/fs/cgroup");
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let mut dirs = vec![mounted.clone(), mounted.join("memory")];
    for line in groups.lines() {
        // `0::/path` in version 2, `4:memory:/path` in version 1.
        let mut parts = line.splitn(3, ':').skip(1);
        let mounted = match parts.next() {
            Some("") => mounted.clone(),
            Some(names) if names.split(',').any(|name| name == "memory") => mounted.join("memory"),
            _ => continue,
        };
        let path = parts.next().unwrap_or_default().trim_start_matches('/');
        let inside = Path::new(path).ancestors().filter(|path| !path.as_os_str().is_empty());
        dirs.extend(inside.map(|path| mounted.join(path)));
    }
    dirs
}

/// The memory left in a control group, in bytes; none without a limit.
fn left_in(dir: &Path) -> Option<u64> {
    let number = |name: &str| fs::read_to_string(dir.join(name)).ok()?.trim().parse::<u64>().ok();
    let (limit, used, cache) = match number("memory.max") {
        Some(limit) => (limit, number("memory.current")?, "inactive_file"),
        None => (
            number("memory.limit_in_bytes")?,
            number("memory.usage_in_bytes")?,
            "total_inactive_file",
        ),
    };
    // The cache of files that were read counts as used, and makes room when needed.
    let stat = fs::read_to_string(dir.join("memory.stat")).unwrap_or_default();
    let cache = field(&stat, cache).unwrap_or(0);
    Some(limit.saturating_sub(used.saturating_sub(cache)))
}

/// The number after `name` in a file of names and numbers.
fn field(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().map(str::split_whitespace);
    lines.find_map(|mut words| (words.next()? == name).then(|| words.next()?.parse().ok())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    /// A file system with these files.
    fn root(files: &[(&str, String)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::create_dir_all(dir.path().join(name).parent().unwrap()).unwrap();
            fs::write(dir.path().join(name), text).unwrap();
        }
        dir
    }

    #[test]
    fn the_narrowest_limit_counts() {
        let machine = ("proc/meminfo", format!("MemTotal: 9 kB\nMemAvailable: {} kB\n", 8 << 20));
        let plain = root(std::slice::from_ref(&machine));
        assert_eq!(available(plain.path()), Some(8 * GIB));

        let second = root(&[
            machine.clone(),
            ("proc/self/cgroup", "0::/job/step\n".to_owned()),
            ("sys/fs/cgroup/memory.max", "max\n".to_owned()),
            ("sys/fs/cgroup/job/memory.max", (3 * GIB).to_string()),
            ("sys/fs/cgroup/job/memory.current", (2 * GIB).to_string()),
            ("sys/fs/cgroup/job/memory.stat", format!("anon 1\ninactive_file {GIB}\n")),
            ("sys/fs/cgroup/job/step/memory.max", "max\n".to_owned()),
        ]);
        assert_eq!(available(second.path()), Some(2 * GIB));

        let first = root(&[
            machine,
            ("proc/self/cgroup", "4:cpu,memory:/job\n".to_owned()),
            ("sys/fs/cgroup/memory/job/memory.limit_in_bytes", (4 * GIB).to_string()),
            ("sys/fs/cgroup/memory/job/memory.usage_in_bytes", (5 * GIB).to_string()),
        ]);
        assert_eq!(available(first.path()), Some(0));
        assert_eq!(available(Path::new("/nowhere")), None);
    }

    #[test]
    fn work_that_does_not_fit_is_refused_with_the_numbers_and_the_flags() {
        let error = check_memory("the training", u64::MAX, "lower it with --d-sae", false);
        if available(Path::new("/")).is_none() {
            return;
        }
        let error = error.unwrap_err();

        let text = error.to_string();
        assert!(text.starts_with("the training needs about ") && text.contains("GiB"), "{text}");
        assert!(check_memory("it", u64::MAX, "", true).is_ok());
        assert!(check_memory("it", 1, "", false).is_ok());
    }
}
