use burn::tensor::Device;

/// The device that tests run on: the one that `NANOSCOPE_TEST_DEVICE` names, flex if it is not set.
///
/// # Panics
/// If the variable names a device that this build does not have.
pub fn test_device() -> Device {
    let name = std::env::var("NANOSCOPE_TEST_DEVICE").unwrap_or_else(|_| "flex".to_owned());
    nanoscope_device::by_name(&name)
        .unwrap_or_else(|error| panic!("NANOSCOPE_TEST_DEVICE: {error}"))
}
