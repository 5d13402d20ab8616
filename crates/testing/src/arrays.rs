//! Files of arrays written by hand, with broken headers if a test wants them.

/// A GGUF file of this architecture. Each tensor has a name, its ggml type, its dimensions (the last of a
/// row-major shape first) and its bytes.
pub fn gguf(architecture: &str, tensors: &[(&str, u32, &[u64], Vec<u8>)]) -> Vec<u8> {
    const STRING: u32 = 8;

    let text = |text: &str| [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat();
    let mut bytes = [&b"GGUF"[..], &3_u32.to_le_bytes()].concat();
    bytes.extend([tensors.len() as u64, 1].map(u64::to_le_bytes).concat());
    bytes.extend([text("general.architecture"), STRING.to_le_bytes().to_vec()].concat());
    bytes.extend(text(architecture));
    let mut data = Vec::new();
    for (name, kind, dimensions, numbers) in tensors {
        bytes.extend([text(name), (dimensions.len() as u32).to_le_bytes().to_vec()].concat());
        bytes.extend(dimensions.iter().flat_map(|len| len.to_le_bytes()));
        bytes.extend([&kind.to_le_bytes()[..], &(data.len() as u64).to_le_bytes()].concat());
        data.extend(numbers);
        data.resize(data.len().next_multiple_of(32), 0);
    }
    bytes.resize(bytes.len().next_multiple_of(32), 0);
    bytes.extend(data);
    bytes
}

/// A `.npy` file of version 1.0 with any header.
pub fn npy(header: &str, numbers: &[u8]) -> Vec<u8> {
    let len = (header.len() as u16).to_le_bytes();
    [b"\x93NUMPY\x01\x00", &len[..], header.as_bytes(), numbers].concat()
}
