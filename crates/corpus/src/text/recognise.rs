//! Recognises what a text file holds, by its content and its name.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::bufread::MultiGzDecoder;
use nanoscope_checkpoint::python_json;
use zstd::stream::read::Decoder as ZstdDecoder;

use super::binary::binary_format;
use super::json_reader::{Broken, JsonReader};
use super::text_file::{Compression, TextFile, TextFormat};
use crate::CorpusError;

/// A text file that was opened, and what it holds.
pub(crate) struct Recognised {
    pub(crate) format: TextFormat,
    /// The unpacked bytes after a byte order mark.
    pub(crate) reader: Box<dyn BufRead>,
}

/// Bytes at the start of a file that are looked at.
const HEAD_BYTES: usize = 64 << 10;

/// Opens a text file and recognises what it holds. `read` counts the bytes that are read of it.
///
/// The name says what the file is meant to be. Content that is unmistakable overrides it: compression,
/// parquet, and JSON, which nobody means to be read as prose.
///
/// # Errors
/// [`CorpusError::Io`]; [`CorpusError::Binary`] for content that is not text.
pub(crate) fn open(file: &TextFile, read: &Arc<AtomicU64>) -> Result<Recognised, CorpusError> {
    let io = |source| CorpusError::io(&file.path, source);
    let opened = File::open(&file.path).map_err(io)?;
    let mut packed = BufReader::new(Counted { file: opened, read: Arc::clone(read) });
    let start = packed.fill_buf().map_err(io)?;
    let named = file.format;
    if named == Some(TextFormat::Parquet) || start.starts_with(b"PAR1") {
        return Ok(Recognised { format: TextFormat::Parquet, reader: Box::new(packed) });
    }
    let mut reader: Box<dyn BufRead> = match Compression::by_content(start).or(file.compression) {
        None => Box::new(packed),
        Some(Compression::Gzip) => Box::new(BufReader::new(MultiGzDecoder::new(packed))),
        Some(Compression::Zstd) => {
            Box::new(BufReader::new(ZstdDecoder::with_buffer(packed).map_err(io)?))
        }
    };
    let mut head = Vec::new();
    (&mut reader).take(HEAD_BYTES as u64).read_to_end(&mut head).map_err(io)?;
    let ends = head.len() < HEAD_BYTES;
    let mark = head.len() - python_json::without_byte_order_mark(&head).len();
    head.drain(..mark);
    if let Some(found) = binary_format(&head) {
        return Err(CorpusError::Binary { path: file.path.clone(), found });
    }
    let format = format(named.unwrap_or(TextFormat::Text), &head, ends);
    Ok(Recognised { format, reader: Box::new(Cursor::new(head).chain(reader)) })
}

/// Returns whether `file`, in a folder of texts, is a single JSON object, as metadata is.
pub(crate) fn is_one_object(file: &TextFile) -> bool {
    let Ok(recognised) = open(file, &Arc::default()) else { return false };
    let mut reader = JsonReader::new(recognised.reader);
    let starts = matches!(reader.peek(), Ok(Some(b'{')));
    let one = recognised.format == TextFormat::Json && starts;
    one && (reader.skip_value().is_err() || !matches!(reader.peek(), Ok(Some(_))))
}

/// The format of a file that is named as `named` and starts with `head`, which is all of it if it `ends`.
fn format(named: TextFormat, head: &[u8], ends: bool) -> TextFormat {
    let mut reader = JsonReader::new(head);
    let Ok(Some(start @ (b'[' | b'{'))) = reader.peek() else { return named };
    let (first_line, _) = reader.position();
    let outcome = reader.skip_value();
    let (last_line, _) = reader.position();
    let on_one_line = first_line == last_line;
    match outcome {
        // A quotation or a footnote in brackets, or a damaged line.
        Err(Broken::Syntax(_) | Broken::TooLong | Broken::Io(_)) => named,
        Err(Broken::End) => match named {
            // The first line may be longer than the head.
            TextFormat::JsonLines if start == b'{' && on_one_line => TextFormat::JsonLines,
            // One bracket does not make JSON.
            _ if ends && reader.values() == 0 => named,
            TextFormat::Text if start == b'{' && on_one_line => TextFormat::JsonLines,
            _ => TextFormat::Json,
        },
        Ok(()) => match reader.peek() {
            Ok(None) if named == TextFormat::JsonLines && start == b'{' && on_one_line => named,
            Ok(None) => TextFormat::Json,
            Ok(Some(next)) if next == start => {
                let (line, _) = reader.position();
                let lines = line > last_line || named == TextFormat::JsonLines;
                if on_one_line && lines { TextFormat::JsonLines } else { TextFormat::Json }
            }
            _ => named,
        },
    }
}

/// A file that counts the bytes read from it.
struct Counted {
    file: File,
    read: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

impl Compression {
    /// Recognises compression by its magic number.
    fn by_content(start: &[u8]) -> Option<Self> {
        if start.starts_with(&[0x1f, 0x8b]) {
            Some(Self::Gzip)
        } else if start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            Some(Self::Zstd)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_recognised_whatever_its_name_and_prose_in_brackets_is_not() {
        use TextFormat::{Csv, Json, JsonLines, Text};

        let csv = Csv { delimiter: b',' };
        for (content, text, lines, json, table) in [
            ("Once upon a time.", Text, JsonLines, Json, csv),
            ("[Scene 1] A wood.", Text, JsonLines, Json, csv),
            ("[1] Smith et al.", Text, JsonLines, Json, csv),
            ("[1, 2] show that", Text, JsonLines, Json, csv),
            ("{curly} prose", Text, JsonLines, Json, csv),
            ("[", Text, JsonLines, Json, csv),
            ("[\"one\", \"two\"]", Json, Json, Json, Json),
            ("[\n\"one\",\n\"two\"]\n", Json, Json, Json, Json),
            ("[{\"text\": \"a\"}, {\"te", Json, Json, Json, Json),
            ("{\"text\": NaN}\n{\"text\": \"b\"}\n", JsonLines, JsonLines, JsonLines, JsonLines),
            ("{\"text\": \"a\"}\n", Json, JsonLines, Json, Json),
            ("{\n\"text\": \"a\"\n}\n{\n\"text\": \"b\"\n}\n", Json, Json, Json, Json),
            ("{\"text\": [\"a\",\n\"b\"]}", Json, Json, Json, Json),
            ("id,text\n1,a\n", Text, JsonLines, Json, csv),
        ] {
            for (named, expected) in [(Text, text), (JsonLines, lines), (Json, json), (csv, table)]
            {
                let found = format(named, content.as_bytes(), true);
                assert_eq!(found, expected, "{named:?}: {content}");
            }
        }
    }

    #[test]
    fn a_first_line_longer_than_the_head_is_still_a_line() {
        let line = format!("{{\"text\": \"{}", "a".repeat(1000));
        for (named, expected) in [
            (TextFormat::JsonLines, TextFormat::JsonLines),
            (TextFormat::Text, TextFormat::JsonLines),
        ] {
            assert_eq!(format(named, line.as_bytes(), false), expected);
        }
    }
}
