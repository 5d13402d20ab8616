//! The objects of a location.

use futures_util::stream::{self, StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{Attribute, GetOptions, GetResult, ObjectMeta, ObjectStoreExt};

use crate::connection::{Counters, Remote, Watch};
use crate::error::{Cause, RemoteError};
use crate::location::Location;
use crate::name::check_names;

/// An object that was found, and the version of it that the server has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteObject {
    /// Name below the location, with slashes between its parts.
    pub name: String,
    /// Size in bytes, as the server gives it.
    pub bytes: u64,
    pub(crate) version: Version,
    pub(crate) path: Path,
}

/// The version of an object, as far as a server tells it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Version {
    pub(crate) e_tag: Option<String>,
    /// The time of the last change, in milliseconds since 1970; 0 if it is not known.
    pub(crate) modified: i64,
}

/// The objects of a location.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The objects, by name.
    pub objects: Vec<RemoteObject>,
    /// True if the location is itself an object, whose name is the last part of the location.
    pub is_one_object: bool,
}

/// The most objects of a location, which are held in memory.
const MAX_OBJECTS: usize = 1_000_000;
/// The number of objects that are asked for at once.
const PARALLEL: usize = 8;

impl Version {
    pub(crate) fn of(meta: &ObjectMeta) -> Self {
        Self { e_tag: meta.e_tag.clone(), modified: meta.last_modified.timestamp_millis() }
    }

    /// Returns whether two objects of this version are the same.
    pub(crate) fn is_known(&self) -> bool {
        self.e_tag.is_some() || self.modified != 0
    }
}

impl Remote {
    /// Finds the object that the location names, or all below it whose names are `wanted`. Only a bucket can list.
    ///
    /// # Errors
    /// [`RemoteError::NotFound`] and the other faults of a request; [`RemoteError::Empty`] if nothing is wanted;
    /// [`RemoteError::Name`] and [`RemoteError::Collision`] for names that no file can have;
    /// [`RemoteError::TooMany`]; [`RemoteError::Interrupted`].
    pub fn list(
        &self,
        wanted: &dyn Fn(&str) -> bool,
        watch: Watch<'_>,
    ) -> Result<Found, RemoteError> {
        self.run(self.listed(wanted), &Counters::default(), watch)
    }

    /// Finds the objects `names` below the location.
    ///
    /// # Errors
    /// As [`list`](Self::list); [`RemoteError::NotFound`] names the object.
    pub fn find(
        &self,
        names: &[String],
        watch: Watch<'_>,
    ) -> Result<Vec<RemoteObject>, RemoteError> {
        check_names(names.iter().map(String::as_str))?;
        let found = async {
            let found = stream::iter(names).map(|name| self.look_up(name)).buffered(PARALLEL);
            found.try_collect().await
        };
        self.run(found, &Counters::default(), watch)
    }

    async fn listed(&self, wanted: &dyn Fn(&str) -> bool) -> Result<Found, RemoteError> {
        let location = &self.location;
        if !location.is_folder
            && let Some((_, name)) = location.split_name()
        {
            match self.head(&path_of(location)?).await {
                Ok(result) => {
                    let object = object(name, &result.meta);
                    check_names([name].into_iter())?;
                    return Ok(Found { objects: vec![object], is_one_object: true });
                }
                // Some buckets deny what is not there, so the listing decides.
                Err(
                    object_store::Error::NotFound { .. }
                    | object_store::Error::PermissionDenied { .. },
                ) => {}
                Err(error) => return Err(self.fault(location, &error)),
            }
        }
        let prefix = path_of(location)?;
        let mut listed = self.store.list(Some(&prefix));
        let (mut objects, mut others) = (Vec::new(), 0);
        while let Some(meta) = listed.next().await {
            let meta = meta.map_err(|error| self.fault(location, &error))?;
            let whole = meta.location.as_ref();
            let name = whole.strip_prefix(prefix.as_ref()).unwrap_or(whole).trim_start_matches('/');
            if !wanted(name) {
                others += 1;
            } else if objects.len() == MAX_OBJECTS {
                return Err(RemoteError::TooMany {
                    location: location.to_string(),
                    most: MAX_OBJECTS,
                });
            } else {
                objects.push(object(name, &meta));
            }
        }
        if objects.is_empty() && others == 0 && !location.parts.is_empty() {
            let source = Cause::of(&NothingBelow);
            return Err(RemoteError::NotFound { location: location.to_string(), source });
        }
        if objects.is_empty() {
            return Err(RemoteError::Empty { location: location.to_string(), others });
        }
        check_names(objects.iter().map(|object: &RemoteObject| object.name.as_str()))?;
        objects.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Found { objects, is_one_object: false })
    }

    /// Asks for the object `name` below the location, but not for its content.
    async fn look_up(&self, name: &str) -> Result<RemoteObject, RemoteError> {
        let location = self.location.below(name);
        let path = path_of(&location)?;
        let mut result = self.head(&path).await;
        if let Err(object_store::Error::Generic { .. }) = result {
            // A server that does not know the request for headers alone.
            result = self.store.get(&path).await;
        }
        let result = result.map_err(|error| self.fault(&location, &error))?;
        if location.is_on_web_server() && !is_page(name) && has_page(&result) {
            return Err(RemoteError::WebPage { location: location.to_string() });
        }
        Ok(object(name, &result.meta))
    }

    /// The location of an object that was found.
    pub(crate) fn location_of(&self, object: &RemoteObject) -> Location {
        let parts = object.path.as_ref().split('/').map(str::to_owned).collect();
        Location { host: self.location.host.clone(), parts, is_folder: false }
    }

    async fn head(&self, path: &Path) -> Result<GetResult, object_store::Error> {
        self.store.get_opts(path, GetOptions { head: true, ..GetOptions::default() }).await
    }
}

/// The path of the location in its store.
pub(crate) fn path_of(location: &Location) -> Result<Path, RemoteError> {
    let name = location.parts.join("/");
    Path::parse(&name)
        .map_err(|_| RemoteError::Name { name, reason: "it is not the path of a file" })
}

fn object(name: &str, meta: &ObjectMeta) -> RemoteObject {
    RemoteObject {
        name: name.to_owned(),
        bytes: meta.size,
        version: Version::of(meta),
        path: meta.location.clone(),
    }
}

/// Returns whether the answer is a page of the server, such as one to log in, rather than a file.
pub(crate) fn has_page(result: &GetResult) -> bool {
    let kind = result.attributes.get(&Attribute::ContentType);
    kind.is_some_and(|kind| {
        kind.as_ref().trim_start().to_ascii_lowercase().starts_with("text/html")
    })
}

/// Returns whether a file of this name is meant to be a page.
pub(crate) fn is_page(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    [".html", ".htm"].iter().any(|end| name.ends_with(end))
}

/// The reason that a prefix does not exist.
#[derive(Debug, thiserror::Error)]
#[error("there is neither an object of this name nor one below it")]
struct NothingBelow;
