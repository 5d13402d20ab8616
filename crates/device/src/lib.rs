//! Backend names and the burn devices behind them.
//!
//! Since burn 0.22 a tensor carries its backend in its [`Device`], so library code takes a
//! `&Device` and names none. This crate is the one place where a name becomes a device, for the
//! binary, the examples and the tests:
//!
//! ```
//! # if !nanoscope_device::available().contains(&"flex") { return }
//! let device = nanoscope_device::by_name("flex").unwrap();
//! assert!(nanoscope_device::by_name("abacus").is_err());
//! # let _ = device;
//! ```
//!
//! Which names exist is decided by this crate's cargo features, which only pass through to burn.

use burn::tensor::Device;

/// Why a name gives no device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// No backend has this name.
    #[error("unknown device `{name}`; known are auto, {}", KNOWN.join(", "))]
    Unknown {
        /// The name as given.
        name: String,
    },
    /// The backend exists but is not in this binary.
    #[error(
        "this binary was built without `{name}` (it has: {}); rebuild with `--features {name}`",
        available().join(", ")
    )]
    NotCompiledIn {
        /// The backend's name, which is also its cargo feature.
        name: &'static str,
    },
}

/// Every backend, those for a GPU first.
const KNOWN: [&str; 4] = ["cuda", "wgpu", "flex", "ndarray"];

/// The names of the backends in this binary.
pub fn available() -> Vec<&'static str> {
    KNOWN.into_iter().filter(|name| open(name).is_some()).collect()
}

/// The device called `name`: `flex`, `ndarray`, `wgpu`, `cuda`, or `auto`.
///
/// `auto` is flex where it is compiled in: for the small models that this project is about, a CPU
/// needs no kernel compilation and answers first. Without flex it is the first one available.
///
/// # Errors
/// [`DeviceError`] if there is no such backend, or not in this binary.
pub fn by_name(name: &str) -> Result<Device, DeviceError> {
    let name = match name {
        "auto" if cfg!(feature = "flex") => "flex",
        "auto" => available().first().copied().unwrap_or("flex"),
        name => name,
    };
    let known = KNOWN
        .into_iter()
        .find(|known| *known == name)
        .ok_or_else(|| DeviceError::Unknown { name: name.to_owned() })?;
    open(known).map(|open| open()).ok_or(DeviceError::NotCompiledIn { name: known })
}

/// The device that tests run on: the one named by `NANOSCOPE_TEST_DEVICE`, else flex.
///
/// # Panics
/// If the variable names no device of this binary.
pub fn for_tests() -> Device {
    let name = std::env::var("NANOSCOPE_TEST_DEVICE").unwrap_or_else(|_| "flex".to_owned());
    by_name(&name).unwrap_or_else(|error| panic!("NANOSCOPE_TEST_DEVICE: {error}"))
}

fn open(name: &str) -> Option<fn() -> Device> {
    match name {
        #[cfg(feature = "flex")]
        "flex" => Some(Device::flex),
        #[cfg(feature = "ndarray")]
        "ndarray" => Some(|| {
            // burn 0.22 is the last release with this backend; it still passes the whole suite.
            #[allow(deprecated)]
            Device::ndarray()
        }),
        #[cfg(feature = "wgpu")]
        "wgpu" => Some(|| Device::wgpu(burn::tensor::DeviceKind::default())),
        #[cfg(feature = "cuda")]
        "cuda" => Some(|| Device::cuda(0)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_is_an_error_that_lists_the_known_ones() {
        let error = by_name("abacus").unwrap_err();

        assert_eq!(
            error.to_string(),
            "unknown device `abacus`; known are auto, cuda, wgpu, flex, ndarray"
        );
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_backend_that_is_not_compiled_in_says_how_to_get_it() {
        let error = by_name("cuda").unwrap_err();

        assert!(error.to_string().ends_with("rebuild with `--features cuda`"), "{error}");
    }
}
