//! Names what a file holds that is not text.

/// Names the format of content that is not text; none if it may be text.
pub(crate) fn binary_format(head: &[u8]) -> Option<String> {
    /// The first bytes of formats, with their names.
    const LFS: &str = "a Git LFS pointer, in place of a file that was not downloaded";
    const MAGIC: [(&[u8], &str); 25] = [
        (b"version https://git-lfs.github.com/spec/", LFS),
        (b"PK\x03\x04", "a zip archive"),
        (b"%PDF-", "a PDF document"),
        (b"{\\rtf", "an RTF document"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Microsoft Office document"),
        (b"BZh", "packed with bzip2"),
        (b"\xfd7zXZ\0", "packed with xz"),
        (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
        (b"Rar!\x1a\x07", "a RAR archive"),
        (b"\x04\x22\x4d\x18", "packed with LZ4"),
        (b"\x1f\x8b", "packed with gzip twice"),
        (b"\x28\xb5\x2f\xfd", "packed with zstd twice"),
        (b"ARROW1", "an Arrow file"),
        (b"PAR1", "a packed parquet file"),
        (b"Obj\x01", "an Avro file"),
        (b"\x93NUMPY", "a NumPy array"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
        (b"SQLite format 3\0", "an SQLite database"),
        (b"GGUF", "a GGUF model"),
        (b"\x89PNG", "a PNG image"),
        (b"\xff\xd8\xff", "a JPEG image"),
        (b"GIF8", "a GIF image"),
        (b"\x7fELF", "a program"),
        (b"\x80\x02", "a pickle"),
        (b"\x80\x04", "a pickle"),
    ];
    /// The offset and the magic number of a tar archive.
    const TAR: (usize, &[u8]) = (257, b"ustar");

    for (encoding, mark) in
        [("UTF-32", &b"\xff\xfe\0\0"[..]), ("UTF-16", b"\xff\xfe"), ("UTF-16", b"\xfe\xff")]
    {
        if head.starts_with(mark) {
            return Some(format!("text in {encoding}, not UTF-8"));
        }
    }
    if head.get(TAR.0..).is_some_and(|rest| rest.starts_with(TAR.1)) {
        return Some("a tar archive".to_owned());
    }
    if let Some((magic, name)) = MAGIC.iter().find(|(magic, _)| head.starts_with(magic)) {
        // A text may begin with letters alone.
        let letters = magic.iter().all(u8::is_ascii_alphanumeric);
        let continues = head.get(magic.len()).is_none_or(|&b| b.is_ascii_graphic() || b == b' ');
        if !letters || !is_utf8(head) || head.contains(&0) || !continues {
            return Some((*name).to_owned());
        }
    }
    let at = head.iter().position(|&byte| byte == 0)?;
    Some(format!("not text: byte {at} is zero"))
}

/// Returns whether bytes are UTF-8 that may be cut off.
fn is_utf8(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).map_or_else(|error| error.error_len().is_none(), |_| true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_text_is_named() {
        for (head, expected) in [
            (&b"PK\x03\x04\x14"[..], "a zip archive"),
            (b"%PDF-1.7\n%\xe2\xe3", "a PDF document"),
            (b"BZh91AY&SY\xff\xfe\xfd", "packed with bzip2"),
            (b"\xff\xfea\0b\0", "text in UTF-16, not UTF-8"),
            (b"one\0two", "not text: byte 3 is zero"),
            (b"GGUF\x03\0\0\0", "a GGUF model"),
            (
                b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 1\n",
                "a Git LFS pointer, in place of a file that was not downloaded",
            ),
        ] {
            assert_eq!(binary_format(head).as_deref(), Some(expected));
        }
        let mut tar = vec![b'a'; 512];
        tar[257..262].copy_from_slice(b"ustar");
        assert_eq!(binary_format(&tar).as_deref(), Some("a tar archive"));
        for text in
            ["", "Once upon a time.", "<html>", "BZh is a prefix.", "GIF8 was first.", "Größe"]
        {
            assert_eq!(binary_format(text.as_bytes()), None, "{text}");
        }
    }
}
