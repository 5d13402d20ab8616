//! Tables as JSON Lines.

use std::io::{self, Write};

use nanoscope_checkpoint::OutputFile;
use serde::Serialize;

/// Writes a table as one JSON object per row.
pub(crate) struct JsonlTable(OutputFile);

impl JsonlTable {
    pub(crate) fn new(out: OutputFile) -> Self {
        Self(out)
    }

    pub(crate) fn push(&mut self, row: impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.0, &row)?;
        self.0.write_all(b"\n")
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }

    /// The file, in which everything is written.
    pub(crate) fn finish(self) -> OutputFile {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::export::rows::tests::hostile;

    #[test]
    fn every_field_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("table.jsonl");
        let mut table = JsonlTable::new(OutputFile::create(&path).unwrap());
        for row in hostile() {
            table.push(row).unwrap();
        }
        table.finish().finish().unwrap();

        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), hostile().len());
        for (line, row) in text.lines().zip(hostile()) {
            let found: Value = serde_json::from_str(line).unwrap();
            assert_eq!(found["token_id"], row.token_id);
            assert_eq!(found["token"], row.token);
            assert_eq!(found["is_prompt"], row.is_prompt);
            assert_eq!(
                found["activation"].as_f64().map(|value| value as f32),
                Some(row.activation)
            );
            assert_eq!(found["label"].as_str(), row.label);
            assert_eq!(found["logprob"].as_f64().map(|value| value as f32), row.logprob);
        }
        // The shortest digits that read back, not those of the float64 nearest to the float32.
        assert!(text.contains("\"activation\":0.1,"), "{text}");
    }
}
