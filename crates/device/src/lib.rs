//! Backend names and the burn devices behind them.
//!
//! Since burn 0.22 a tensor carries its backend in its [`Device`], so library code takes a `&Device`
//! and is independent of backends. This crate alone turns names into devices, for the binary, the
//! examples and the tests:
//!
//! ```
//! # if !nanoscope_device::available().contains(&"flex") { return }
//! let device = nanoscope_device::by_name("flex").unwrap();
//! assert!(nanoscope_device::by_name("abacus").is_err());
//! # let _ = device;
//! ```
//!
//! The cargo features determine which backends are available; they have burn's names.

use burn::tensor::Device;
use nanoscope_hooks::did_you_mean;

/// Errors in the choice of a device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// The name is not the name of a backend.
    #[error(
        "unknown device `{name}` (expected auto, {}){}",
        KNOWN.join(", "),
        did_you_mean(.name, KNOWN.into_iter().chain(["auto"]))
    )]
    Unknown {
        /// The name as given.
        name: String,
    },
    /// The backend exists, but this binary was built without it.
    #[error(
        "this binary was built without `{name}` (it has: {}); rebuild with `--features {name}`",
        available().join(", ")
    )]
    NotCompiledIn {
        /// The backend's name, which is also its cargo feature.
        name: &'static str,
    },
    /// The browser gives no access to a GPU.
    #[error("the browser gives no access to a GPU: {reason}")]
    NoGpu {
        /// The reason as wgpu states it.
        reason: String,
    },
}

/// All backends, those for GPUs first.
const KNOWN: [&str; 4] = ["cuda", "wgpu", "flex", "ndarray"];

/// Returns the names of the backends that this binary was built with.
pub fn available() -> Vec<&'static str> {
    KNOWN.into_iter().filter(|name| open(name).is_some()).collect()
}

/// Opens the device called `name`: `flex`, `ndarray`, `wgpu`, `cuda` or `auto`.
///
/// `auto` is flex if it is available: with small models a CPU, which does not compile kernels, is
/// the first to respond. Without flex it is the first backend available.
///
/// # Errors
/// [`DeviceError`] if the backend does not exist, or this binary was built without it.
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

/// Opens the GPU of a browser, which takes the place of [`by_name`]`("wgpu")` there: a browser opens it only
/// asynchronously.
///
/// # Errors
/// [`DeviceError::NoGpu`] if the browser has no WebGPU, or gives no access to a GPU.
#[cfg(all(target_arch = "wasm32", feature = "webgpu"))]
pub async fn of_browser() -> Result<Device, DeviceError> {
    thread_local! {
        static OPENED: std::cell::OnceCell<Device> = const { std::cell::OnceCell::new() };
    }
    if let Some(device) = OPENED.with(|opened| opened.get().cloned()) {
        return Ok(device);
    }
    let device = Device::wgpu_options().init_async().await;
    let device = device.map_err(|error| DeviceError::NoGpu { reason: error.to_string() })?;
    Ok(OPENED.with(|opened| opened.get_or_init(|| device).clone()))
}

fn open(name: &str) -> Option<fn() -> Device> {
    match name {
        #[cfg(feature = "flex")]
        "flex" => Some(Device::flex),
        #[cfg(feature = "ndarray")]
        "ndarray" => Some(|| {
            // burn 0.22 is the last release with this backend; it still passes all tests.
            #[allow(deprecated)]
            Device::ndarray()
        }),
        #[cfg(feature = "webgpu")]
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
            "unknown device `abacus` (expected auto, cuda, wgpu, flex, ndarray)"
        );
        let error = by_name("cud").unwrap_err().to_string();
        assert!(error.ends_with("ndarray); did you mean `cuda`?"), "{error}");
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_backend_that_is_not_compiled_in_says_how_to_get_it() {
        let error = by_name("cuda").unwrap_err();

        assert!(error.to_string().ends_with("rebuild with `--features cuda`"), "{error}");
    }
}
