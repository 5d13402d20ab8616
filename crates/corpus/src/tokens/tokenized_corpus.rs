//! A corpus as token ids in contexts of equal length.
//!
//! Every document begins with `<|bos|>`, and nothing else produces that token. The document of each
//! token therefore follows from the first document of its context and from the ids: 12 bytes are
//! stored per context in place of 8 per token.

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use nanoscope_tokenizer::{TokenId, Tokenizer};
use sha2::{Digest, Sha256};

use super::context::Context;
use crate::CorpusError;
use crate::digest::hex;
use crate::text::{Corpus, PassedOver};

/// The tokens of a corpus, divided into contexts.
///
/// Documents are encoded with a leading `<|bos|>` and concatenated. A context is the next
/// [`context_len`](Self::context_len) ids, regardless of document boundaries; the remainder at the
/// end is dropped. The text of a special token is encoded as plain text.
///
/// The ids are stored in an unnamed temporary file, which disappears with this value. Only one
/// context at a time is in memory.
#[derive(Debug)]
pub struct TokenizedCorpus {
    dir: PathBuf,
    ids: Mutex<File>,
    heads: Mutex<File>,
    context_len: usize,
    len: u64,
    documents: u64,
    bos: TokenId,
    special: Vec<TokenId>,
    sha256: String,
    passed_over: PassedOver,
}

/// Options for tokenizing a corpus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenizeOptions {
    /// Tokens per context, at least 1.
    pub context_len: usize,
    /// Maximum number of tokens, including `<|bos|>`; `None` for the whole corpus.
    pub limit: Option<u64>,
    /// The folder for the temporary files, which take 4 bytes per token and 12 per context.
    pub dir: PathBuf,
}

impl TokenizeOptions {
    /// Divides the whole corpus into contexts of `context_len` tokens, with temporary files in the
    /// system's temporary folder.
    pub fn new(context_len: usize) -> Self {
        Self { context_len, limit: None, dir: std::env::temp_dir() }
    }
}

/// Progress of tokenizing a corpus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenizeProgress {
    /// Tokens so far.
    pub tokens: u64,
    /// Bytes read so far (compressed size for `.gz` and `.zst`).
    pub bytes: u64,
    /// Total size of the files in bytes.
    pub total_bytes: u64,
}

impl TokenizedCorpus {
    /// Tokenizes `corpus`. `progress` is called after each document and may cancel.
    ///
    /// # Errors
    /// Any error in the texts; [`CorpusError::NoBos`]; [`CorpusError::TooFewTokens`] if they do not
    /// fill one context; [`CorpusError::Io`] with the folder if the ids cannot be written;
    /// [`CorpusError::Interrupted`].
    ///
    /// # Panics
    /// If `context_len` is 0.
    pub fn build(
        corpus: &Corpus,
        tokenizer: &Tokenizer,
        options: &TokenizeOptions,
        progress: &mut dyn FnMut(TokenizeProgress) -> ControlFlow<()>,
    ) -> Result<Self, CorpusError> {
        let mut writer = TokenWriter::new(tokenizer, options)?;
        let mut documents = corpus.documents();
        while let Some(document) = documents.next().transpose()? {
            let encoded = tokenizer.encode(&document.text);
            let number = document.number;
            let ids = encoded.map_err(|source| CorpusError::Encode { document: number, source })?;
            let full = writer.push(&ids, document.continued)?.is_break();
            let bytes = documents.bytes_read();
            let so_far =
                TokenizeProgress { tokens: writer.len, bytes, total_bytes: corpus.bytes() };
            if progress(so_far).is_break() {
                return Err(CorpusError::Interrupted);
            }
            if full {
                break;
            }
        }
        let passed_over = documents.passed_over().clone();
        writer.finish(tokenizer, passed_over)
    }

    /// Tokens per context.
    pub fn context_len(&self) -> usize {
        self.context_len
    }

    /// Number of contexts; at least one.
    pub fn contexts(&self) -> u64 {
        self.len / self.context_len as u64
    }

    /// Number of tokens, including the last ones that do not fill a context.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Always false: there is at least one context.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Number of tokens at the end that do not fill a context.
    pub fn dropped(&self) -> u64 {
        self.len % self.context_len as u64
    }

    /// Number of documents that begin within the tokens.
    pub fn documents(&self) -> u64 {
        self.documents
    }

    /// SHA-256 of all ids, each as four little-endian bytes. It identifies the text as this
    /// tokenizer encodes it.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// Lines and rows without a text that were passed over.
    pub fn passed_over(&self) -> &PassedOver {
        &self.passed_over
    }

    /// Returns whether `id` is a special token.
    pub fn is_special(&self, id: TokenId) -> bool {
        self.special.binary_search(&id).is_ok()
    }

    /// Reads context `index`.
    ///
    /// # Errors
    /// [`CorpusError::Io`].
    ///
    /// # Panics
    /// If `index` is out of range.
    pub fn context(&self, index: u64) -> Result<Context, CorpusError> {
        assert!(index < self.contexts(), "context {index} of {}", self.contexts());
        let mut bytes = vec![0; self.context_len * ID_BYTES];
        self.read(&self.ids, index * bytes.len() as u64, &mut bytes)?;
        let tokens: Vec<TokenId> =
            bytes.as_chunks().0.iter().map(|&bytes| TokenId::from_le_bytes(bytes)).collect();
        let (mut document, _) = self.head(index)?;
        let documents = tokens.iter().enumerate().map(|(at, &id)| {
            // `<|bos|>` only occurs at the beginning of a document.
            document += u64::from(at > 0 && id == self.bos);
            document
        });
        Ok(Context { index, documents: documents.collect(), tokens })
    }

    /// Number of special tokens in context `index`.
    ///
    /// # Errors
    /// [`CorpusError::Io`].
    ///
    /// # Panics
    /// If `index` is out of range.
    pub fn specials(&self, index: u64) -> Result<u32, CorpusError> {
        assert!(index < self.contexts(), "context {index} of {}", self.contexts());
        Ok(self.head(index)?.1)
    }

    /// Reads the document of the first token of context `index`, and its number of special tokens.
    fn head(&self, index: u64) -> Result<(u64, u32), CorpusError> {
        let mut bytes = [0; HEAD_BYTES];
        self.read(&self.heads, index * HEAD_BYTES as u64, &mut bytes)?;
        let [document, specials] = [&bytes[..8], &bytes[8..]];
        let document = u64::from_le_bytes(document.try_into().expect("the slice has 8 bytes"));
        Ok((document, u32::from_le_bytes(specials.try_into().expect("the slice has 4 bytes"))))
    }

    fn read(&self, file: &Mutex<File>, from: u64, into: &mut [u8]) -> Result<(), CorpusError> {
        // A panic during a read leaves nothing half done: each read seeks first.
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        let read = file.seek(SeekFrom::Start(from)).and_then(|_| file.read_exact(into));
        read.map_err(|source| CorpusError::io(&self.dir, source))
    }
}

/// Bytes per token id.
const ID_BYTES: usize = size_of::<TokenId>();

/// Bytes per context header: its first document and number of special tokens.
const HEAD_BYTES: usize = 12;

/// Writes tokens to temporary files.
struct TokenWriter {
    options: TokenizeOptions,
    ids: BufWriter<File>,
    heads: BufWriter<File>,
    sha256: Sha256,
    bos: TokenId,
    len: u64,
    documents: u64,
    /// Header of the context being filled: its first document and number of special tokens.
    head: (u64, u32),
}

impl TokenWriter {
    fn new(tokenizer: &Tokenizer, options: &TokenizeOptions) -> Result<Self, CorpusError> {
        assert!(options.context_len > 0, "a context must have at least one token");
        let file = || {
            let file = tempfile::tempfile_in(&options.dir);
            file.map(BufWriter::new).map_err(|source| CorpusError::io(&options.dir, source))
        };
        Ok(Self {
            ids: file()?,
            heads: file()?,
            sha256: Sha256::new(),
            bos: tokenizer.document_start().ok_or(CorpusError::NoBos)?,
            len: 0,
            documents: 0,
            head: (0, 0),
            options: options.clone(),
        })
    }

    /// Appends a document, or a continuation of the previous one. Breaks at the limit.
    fn push(&mut self, ids: &[TokenId], continued: bool) -> Result<ControlFlow<()>, CorpusError> {
        let bos = (!continued).then_some(self.bos);
        for id in bos.into_iter().chain(ids.iter().copied()) {
            if self.options.limit.is_some_and(|limit| self.len >= limit) {
                return Ok(ControlFlow::Break(()));
            }
            self.append(id).map_err(|source| CorpusError::io(&self.options.dir, source))?;
        }
        Ok(ControlFlow::Continue(()))
    }

    fn append(&mut self, id: TokenId) -> io::Result<()> {
        let is_bos = id == self.bos;
        self.documents += u64::from(is_bos);
        if self.len.is_multiple_of(self.options.context_len as u64) {
            self.head = (self.documents - 1, 0);
        }
        // The tokenizer never encodes text as a special token.
        self.head.1 += u32::from(is_bos);
        self.ids.write_all(&id.to_le_bytes())?;
        self.sha256.update(id.to_le_bytes());
        self.len += 1;
        if self.len.is_multiple_of(self.options.context_len as u64) {
            self.heads.write_all(&self.head.0.to_le_bytes())?;
            self.heads.write_all(&self.head.1.to_le_bytes())?;
        }
        Ok(())
    }

    fn finish(
        self,
        tokenizer: &Tokenizer,
        passed_over: PassedOver,
    ) -> Result<TokenizedCorpus, CorpusError> {
        let TokenizeOptions { context_len, dir, .. } = self.options;
        if self.len < context_len as u64 {
            return Err(CorpusError::TooFewTokens { found: self.len, context_len });
        }
        Ok(TokenizedCorpus {
            ids: written(self.ids, &dir)?,
            heads: written(self.heads, &dir)?,
            dir,
            context_len,
            len: self.len,
            documents: self.documents,
            bos: self.bos,
            special: tokenizer.special_tokens().iter().map(|&(_, id)| id).collect(),
            sha256: hex(&self.sha256.finalize()),
            passed_over,
        })
    }
}

fn written(file: BufWriter<File>, dir: &Path) -> Result<Mutex<File>, CorpusError> {
    let file = file.into_inner();
    file.map(Mutex::new).map_err(|error| CorpusError::io(dir, error.into_error()))
}

#[cfg(test)]
mod tests {
    use nanoscope_tokenizer::TokenizerParts;

    use super::*;
    use crate::{CorpusOptions, SpecialTokens};

    const BOS: u32 = 256;

    fn tokenizer() -> Tokenizer {
        Tokenizer::new(TokenizerParts {
            pattern: r"\w+|\W+".to_owned(),
            ranks: (0..=255_u8).map(|byte| (vec![byte], byte.into())).collect(),
            special_tokens: vec![("<|bos|>".to_owned(), BOS)],
        })
        .unwrap()
    }

    fn tokenized(
        texts: &[&str],
        options: &TokenizeOptions,
    ) -> Result<TokenizedCorpus, CorpusError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.jsonl");
        let lines = texts.iter().map(|text| serde_json::json!({ "text": text }).to_string() + "\n");
        std::fs::write(&path, lines.collect::<String>()).unwrap();
        let corpus = Corpus::open(&[path], &CorpusOptions::default()).unwrap();
        TokenizedCorpus::build(&corpus, &tokenizer(), options, &mut |_| ControlFlow::Continue(()))
    }

    #[test]
    fn contexts_go_on_across_documents_and_know_which_is_which() {
        let tokens = tokenized(&["abc", "", "d", "efgh"], &TokenizeOptions::new(4)).unwrap();

        let contexts: Vec<Context> = (0..2).map(|index| tokens.context(index).unwrap()).collect();
        assert_eq!(contexts[0].tokens, [BOS, 97, 98, 99]);
        assert_eq!(contexts[0].documents, [0, 0, 0, 0]);
        assert_eq!(contexts[1].tokens, [BOS, 100, BOS, 101]);
        assert_eq!(contexts[1].documents, [1, 1, 2, 2]);
        assert_eq!((tokens.contexts(), tokens.len(), tokens.dropped()), (2, 11, 3));
        assert_eq!((tokens.documents(), tokens.specials(1).unwrap()), (3, 2));
    }

    #[test]
    fn a_context_in_the_middle_of_a_document_is_of_that_document() {
        let tokens = tokenized(&["a", "bcdefgh"], &TokenizeOptions::new(3)).unwrap();

        let context = tokens.context(1).unwrap();

        assert_eq!((context.tokens, context.documents), (vec![98, 99, 100], vec![1, 1, 1]));
        assert_eq!(tokens.specials(1).unwrap(), 0);
    }

    #[test]
    fn no_more_tokens_are_taken_than_the_limit_says() {
        let options = TokenizeOptions { limit: Some(7), ..TokenizeOptions::new(3) };

        let tokens = tokenized(&["abcde", "fgh"], &options).unwrap();

        assert_eq!((tokens.len(), tokens.contexts(), tokens.documents()), (7, 2, 2));
        let same =
            tokenized(&["abcde", "x"], &TokenizeOptions { limit: Some(7), ..options }).unwrap();
        assert_eq!(same.sha256(), tokens.sha256());
    }

    #[test]
    fn the_text_of_a_special_token_is_no_special_token() {
        let tokens = tokenized(&["<|bos|>"], &TokenizeOptions::new(8)).unwrap();

        let context = tokens.context(0).unwrap();

        assert_eq!(SpecialTokens::Skip.positions(&context, &tokenizer()), [1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(SpecialTokens::Keep.positions(&context, &tokenizer()).len(), 8);
    }

    #[test]
    fn texts_that_fill_no_context_are_an_error() {
        let error = tokenized(&["ab"], &TokenizeOptions::new(4)).unwrap_err();

        assert_eq!(error.to_string(), "the texts have 3 tokens, too few for one context of 4");
    }
}
