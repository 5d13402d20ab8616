//! Texts and stores that other machines have.
//!
//! A flag for texts or a store takes a path or a URL. What is at a URL is mirrored to a folder of the user's
//! cache, and the command goes on with that folder.

#[cfg(feature = "remote")]
mod mirrored;
mod url;

use std::path::{Path, PathBuf};

use anyhow::Result;

#[cfg(feature = "remote")]
use self::mirrored::{check_text, kept_folder, store, texts};
pub(crate) use self::url::is_url;
#[cfg(not(feature = "remote"))]
use self::without::{check_text, kept_folder, store, texts};
use crate::terminal::signals::InterruptFlag;

/// Checks every path of a text that is a URL: that it is one that is read, and not a folder of a web server.
pub(crate) fn check_texts(paths: &[PathBuf]) -> Result<()> {
    paths.iter().filter(|path| is_url(path)).try_for_each(|path| check_text(path))
}

/// Checks the path of a store if it is a URL: that it is one that is read.
pub(crate) fn check_store(path: &Path) -> Result<()> {
    if is_url(path) { kept_folder(path).map(drop) } else { Ok(()) }
}

/// The paths of texts on this machine. In place of a URL it is the file or the folder that mirrors it, which is
/// made as the server has it now.
pub(crate) fn local_texts(paths: &[PathBuf], interrupted: &InterruptFlag) -> Result<Vec<PathBuf>> {
    check_texts(paths)?;
    let local = |path: &PathBuf| {
        if is_url(path) { texts(path, interrupted) } else { Ok(path.clone()) }
    };
    paths.iter().map(local).collect()
}

/// The folder of a store on this machine, as [`local_texts`] has it for texts.
pub(crate) fn local_store(path: &Path, interrupted: &InterruptFlag) -> Result<PathBuf> {
    if is_url(path) { store(path, interrupted) } else { Ok(path.to_owned()) }
}

/// The folder of a store on this machine, without a look at the server: it may not be there.
pub(crate) fn kept_store(path: &Path) -> Result<PathBuf> {
    if is_url(path) { kept_folder(path) } else { Ok(path.to_owned()) }
}

/// The errors of URLs in a program that was built without the feature `remote`.
#[cfg(not(feature = "remote"))]
mod without {
    use std::path::{Path, PathBuf};

    use anyhow::Result;

    use crate::terminal::messages::Hint;
    use crate::terminal::signals::InterruptFlag;

    pub(super) fn check_text(_: &Path) -> Result<()> {
        let error = "this program was built without the cargo feature `remote`, so it reads no URL";
        let hint = "download the files and pass their paths, or build with --features remote";
        Err(Hint::new(error, hint).into())
    }

    pub(super) fn texts(path: &Path, _: &InterruptFlag) -> Result<PathBuf> {
        check_text(path).map(|()| path.to_owned())
    }

    pub(super) fn store(path: &Path, _: &InterruptFlag) -> Result<PathBuf> {
        check_text(path).map(|()| path.to_owned())
    }

    pub(super) fn kept_folder(path: &Path) -> Result<PathBuf> {
        check_text(path).map(|()| path.to_owned())
    }
}
