//! The file, device or pipe that an output path names.

use std::fs::{self, File, Metadata};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The place that receives the bytes of an output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Destination {
    /// A regular file at the end of all links, which exists or will be created.
    File(PathBuf),
    /// A device, a FIFO or a file that this process has already open: takes bytes in order, and is
    /// never replaced.
    Stream(PathBuf),
    /// The standard output.
    Stdout,
}

/// The paths of the standard output.
const STDOUT: [&str; 3] = ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"];
/// The most links that Linux follows in one path.
const MAX_LINKS: usize = 40;

impl Destination {
    /// Resolves the links of `path` and checks, as far as possible without a change, that it can be
    /// written: that it is not a folder, that its folder exists, and that an existing file is not
    /// protected.
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        if is_stdout(path) {
            return Ok(Self::Stdout);
        }
        let there = match fs::metadata(path) {
            Ok(there) => Some(there),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        if there.as_ref().is_some_and(Metadata::is_dir) || names_a_folder(path) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        if there.as_ref().is_some_and(|there| !there.is_file()) {
            return Ok(Self::Stream(path.to_owned()));
        }
        let mut target = path.to_owned();
        for _ in 0..MAX_LINKS {
            // Replacing the file behind a descriptor would leave the descriptor with the old one.
            if is_descriptor(&target) && there.is_some() {
                return Ok(Self::Stream(path.to_owned()));
            }
            match fs::symlink_metadata(&target) {
                Ok(entry) if entry.is_symlink() => target = linked(&target)?,
                Ok(_) => {
                    File::options().write(true).open(&target)?;
                    return Ok(Self::File(target));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    if names_a_folder(&target) {
                        return Err(io::ErrorKind::IsADirectory.into());
                    }
                    fs::metadata(folder(&target))?;
                    return Ok(Self::File(target));
                }
                Err(error) => return Err(error),
            }
        }
        Err(too_many_links())
    }
}

/// The folder at the end of all links of `dir`, which may not exist yet.
///
/// # Errors
/// [`io::ErrorKind::NotADirectory`] if something else is there, and those of the file system.
pub fn folder_behind_links(dir: &Path) -> io::Result<PathBuf> {
    // Without a separator at the end, which would name the folder behind a link.
    let mut found: PathBuf = dir.components().collect();
    for _ in 0..MAX_LINKS {
        match fs::symlink_metadata(&found) {
            Ok(entry) if entry.is_symlink() => found = linked(&found)?,
            Ok(entry) if !entry.is_dir() => return Err(io::ErrorKind::NotADirectory.into()),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => return Ok(found),
        }
    }
    Err(too_many_links())
}

/// The path that the link at `path` names.
fn linked(path: &Path) -> io::Result<PathBuf> {
    Ok(path.parent().unwrap_or(Path::new("")).join(fs::read_link(path)?))
}

fn too_many_links() -> io::Error {
    io::Error::other("too many levels of symbolic links")
}

/// Writes what `fill` writes to a stream.
pub(super) fn stream(
    destination: &Destination,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let mut out = open_stream(destination)?;
    fill(&mut out)?;
    out.flush()
}

/// Opens a stream for writing.
pub(super) fn open_stream(destination: &Destination) -> io::Result<Box<dyn Write + Send>> {
    Ok(match destination {
        // Not created, because a FIFO that has disappeared must not become a file.
        Destination::File(path) | Destination::Stream(path) => {
            Box::new(File::options().append(true).open(path)?)
        }
        Destination::Stdout => Box::new(io::stdout()),
    })
}

/// Returns whether `path` is the standard output of this process.
pub fn is_stdout(path: &Path) -> bool {
    STDOUT.iter().any(|name| path == Path::new(name))
}

/// The folder that contains `path`.
pub(super) fn folder(path: &Path) -> &Path {
    // `parent` of a bare file name is empty, in which no file can be created.
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Returns whether `path` can only be a folder: it ends with a separator, or with `.` or `..`.
fn names_a_folder(path: &Path) -> bool {
    let text = path.as_os_str().as_encoded_bytes();
    text.last().is_some_and(|&end| std::path::is_separator(end.into()))
        || path.file_name().is_none()
}

/// Returns whether `path` names a file descriptor, whose link is not a path to resolve.
fn is_descriptor(path: &Path) -> bool {
    let Some(dir) = path.parent() else { return false };
    dir == Path::new("/dev/fd") || (dir.starts_with("/proc") && dir.ends_with("fd"))
}

/// Gives `new` the owner and the mode of the file at `replaced`, as far as this process may.
#[cfg(unix)]
pub(super) fn copy_owner_and_mode(replaced: &Path, new: &Path) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt, chown};

    let (before, now) = match (fs::metadata(replaced), fs::metadata(new)) {
        (Ok(before), Ok(now)) => (before, now),
        (Err(error), _) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        (Err(error), _) | (_, Err(error)) => return Err(error),
    };
    let owner = (before.uid() != now.uid()).then_some(before.uid());
    let group = (before.gid() != now.gid()).then_some(before.gid());
    // Only a privileged process can give a file away, but each member of a group can give it to that.
    if (owner.is_some() || group.is_some()) && chown(new, owner, group).is_err() {
        let _ = chown(new, None, group);
    }
    // After the owner, because a change of that clears some bits.
    fs::set_permissions(new, before.permissions())
}

/// Does nothing: other systems have no owner and mode in this sense.
#[cfg(not(unix))]
#[allow(clippy::unnecessary_wraps, reason = "it has the signature of the function for Unix")]
pub(super) fn copy_owner_and_mode(_: &Path, _: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_are_followed_to_the_file_or_its_future_place() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("real")).unwrap();
        fs::write(at("real/file"), "").unwrap();
        symlink("real/file", at("link")).unwrap();
        symlink(at("link"), at("link to link")).unwrap();
        symlink("real/new", at("dangling")).unwrap();
        symlink("nowhere/new", at("lost")).unwrap();
        symlink("circle", at("circle")).unwrap();
        symlink("real", at("dir link")).unwrap();
        symlink("../new", at("real/up")).unwrap();
        symlink("new/", at("folder to be")).unwrap();

        let of = |name: &str| Destination::of(&at(name)).map_err(|error| error.kind());
        let file = |name: &str| Ok(Destination::File(at(name)));
        assert_eq!(of("real/file"), file("real/file"));
        assert_eq!(of("new"), file("new"));
        assert_eq!(of("link"), file("real/file"));
        assert_eq!(of("link to link"), file("real/file"));
        assert_eq!(of("dangling"), file("real/new"));
        assert_eq!(of("dir link/up"), file("dir link/../new"));
        assert_eq!(of("lost"), Err(io::ErrorKind::NotFound));
        assert_eq!(of("nowhere/new"), Err(io::ErrorKind::NotFound));
        assert!(of("circle").is_err());
        for folder in ["real", "dir link", "new/", "dir link/", "real/..", "folder to be"] {
            assert_eq!(of(folder), Err(io::ErrorKind::IsADirectory), "{folder}");
        }
    }

    #[test]
    fn what_is_not_a_regular_file_is_a_stream() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        symlink("/dev/null", &link).unwrap();

        assert_eq!(
            Destination::of(Path::new("/dev/null")).unwrap(),
            Destination::Stream("/dev/null".into())
        );
        assert_eq!(Destination::of(&link).unwrap(), Destination::Stream(link));
        for name in STDOUT {
            assert_eq!(Destination::of(Path::new(name)).unwrap(), Destination::Stdout);
        }
        assert_eq!(
            Destination::of(Path::new("/dev/stderr")).unwrap(),
            Destination::Stream("/dev/stderr".into())
        );
    }
}
