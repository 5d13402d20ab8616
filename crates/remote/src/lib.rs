//! Mirrors of objects in S3 and of files on web servers.
//!
//! A [`Location`] names a bucket's prefix or a web server's file, and a [`Remote`] is the connection to it, which
//! finds [`RemoteObject`]s. A [`Mirror`] is the folder that they are downloaded to: each object is there whole or
//! not at all, one that has not changed is not downloaded again, and one that is gone is deleted. Everything else
//! works on the folder, as on any other.
//!
//! ```
//! use nanoscope_remote::{Location, RemoteError};
//!
//! let location: Location = "s3://bucket/texts/".parse()?;
//! assert_eq!(location.to_string(), "s3://bucket/texts");
//!
//! let wrong = "gs://bucket/texts".parse::<Location>().unwrap_err();
//! assert!(matches!(wrong, RemoteError::Scheme { .. }));
//! # Ok::<(), RemoteError>(())
//! ```
//!
//! Nothing is sent but requests to read, and only to the address that the location names or, for S3, to the one
//! that AWS's environment variables name. Names of objects are hostile until they are checked, and no size in a
//! header is believed: an object goes to the disk as it arrives. This crate reads no text and no activation.

mod connection;
mod download;
mod environment;
mod error;
mod location;
mod mirror;
mod name;
mod objects;
mod record;

pub use connection::{Progress, Remote, Watch};
pub use error::{Cause, RemoteError};
pub use location::Location;
pub use mirror::{Mirror, OtherFiles, Updated};
pub use objects::{Found, RemoteObject};
