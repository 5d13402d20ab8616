//! The download of objects to a mirror.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::stream::{self, StreamExt};
use object_store::ObjectStoreExt;

use crate::connection::{Counters, Remote, Watch};
use crate::error::RemoteError;
use crate::mirror::Mirror;
use crate::objects::{RemoteObject, Version, has_page, is_page};

/// The number of objects that are downloaded at once.
const PARALLEL: usize = 4;

impl Mirror {
    /// Downloads `objects`, of `bytes` together, each to a file in `scratch` that is renamed when it is whole.
    pub(crate) fn download(
        &mut self,
        remote: &Remote,
        objects: &[&RemoteObject],
        bytes: u64,
        scratch: &Path,
        watch: Watch<'_>,
    ) -> Result<(), RemoteError> {
        let counters = Counters::default();
        counters.total.store(bytes, Ordering::Relaxed);
        let work = async {
            let tasks = objects.iter().enumerate().map(|(at, object)| {
                let partial = Partial(scratch.join(format!("object-{at}")));
                to_file(remote, object, partial, &counters.done)
            });
            let mut tasks = stream::iter(tasks).buffer_unordered(PARALLEL);
            while let Some(done) = tasks.next().await {
                let (object, version, partial) = done?;
                self.keep(object, version, &partial)?;
            }
            Ok(())
        };
        remote.run(work, &counters, watch)
    }

    /// Moves a whole file to its place.
    fn keep(
        &mut self,
        object: &RemoteObject,
        version: Version,
        partial: &Partial,
    ) -> Result<(), RemoteError> {
        let path = self.path_of(&object.name);
        let io = |error| RemoteError::io(&path, error);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(io)?;
        }
        fs::rename(&partial.0, &path).map_err(io)?;
        self.record.add(&object.name, version, &path)
    }
}

/// A file that is deleted when it is dropped, unless it was renamed.
#[derive(Debug)]
struct Partial(PathBuf);

impl Drop for Partial {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Downloads an object to a new file. Returns the version that arrived.
async fn to_file<'o>(
    remote: &Remote,
    object: &'o RemoteObject,
    partial: Partial,
    done: &AtomicU64,
) -> Result<(&'o RemoteObject, Version, Partial), RemoteError> {
    let location = remote.location_of(object);
    let fault = |error| remote.fault(&location, &error);
    let changed = |found| RemoteError::Changed {
        location: location.to_string(),
        expected: object.bytes,
        found,
    };
    let result = remote.store.get(&object.path).await.map_err(fault)?;
    if location.is_on_web_server() && !is_page(&object.name) && has_page(&result) {
        return Err(RemoteError::WebPage { location: location.to_string() });
    }
    // The room on the disk was checked for this size.
    if result.meta.size != object.bytes {
        return Err(changed(result.meta.size));
    }
    let version = Version::of(&result.meta);
    let io = |error| RemoteError::io(&partial.0, error);
    let mut file = File::create_new(&partial.0).map_err(io)?;
    let mut pieces = result.into_stream();
    let mut len = 0;
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(fault)?;
        len += piece.len() as u64;
        if len > object.bytes {
            return Err(changed(len));
        }
        file.write_all(&piece).map_err(io)?;
        done.fetch_add(piece.len() as u64, Ordering::Relaxed);
    }
    if len != object.bytes {
        return Err(changed(len));
    }
    file.sync_all().map_err(io)?;
    Ok((object, version, partial))
}
