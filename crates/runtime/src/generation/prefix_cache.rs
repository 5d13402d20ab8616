use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use nanoscope_hooks::HookPoint;
use nanoscope_sae::SparseFeatures;
use nanoscope_transformer::KvTail;

use crate::pass::report::ReportBuilder;

/// A cache of the beginnings of prompts, for prompts that begin like an earlier one.
///
/// Prompts are run in pieces whose boundaries do not depend on the cache's contents, so a
/// generation is bit for bit the same whether its pieces are run or reused. A piece is keyed by the
/// piece before it, and the first one by the plan's changes to the prompt.
#[derive(Debug)]
pub(super) struct PrefixCache {
    roots: HashMap<Digest, Id>,
    pieces: HashMap<Key, Piece>,
    /// Pieces by the time of their last use, oldest first.
    ages: BTreeMap<u64, Key>,
    max_bytes: usize,
    bytes: usize,
    /// Incremented at each use.
    clock: u64,
    next_id: Id,
}

/// SHA-256 of a plan's changes to a prompt, which has a fixed length whatever clients send.
pub(super) type Digest = [u8; 32];

/// The maximum number of roots without a piece.
const MAX_EMPTY_ROOTS: usize = 1024;

pub(super) type Id = u64;

/// The preceding piece or root, and the tokens of this piece.
type Key = (Id, Box<[u32]>);

#[derive(Debug)]
struct Piece {
    id: Id,
    kept: Arc<CachedPiece>,
    bytes: usize,
    used: u64,
}

/// The results of running a piece of a prompt.
#[derive(Debug, Clone)]
pub(super) struct CachedPiece {
    pub(super) tail: KvTail,
    /// Totals of the interventions that can change a prompt.
    pub(super) report: ReportBuilder,
    /// The features at each hook point, with a row for each token.
    pub(super) features: BTreeMap<HookPoint, SparseFeatures>,
    /// The logits for the position after the piece, if it ended a prompt.
    pub(super) logits: Option<Vec<f32>>,
}

impl CachedPiece {
    fn bytes(&self) -> usize {
        let features: usize = self.features.values().map(SparseFeatures::nnz).sum();
        let logits = self.logits.as_ref().map_or(0, Vec::len);
        // An index and a value for each active feature.
        self.tail.bytes() + self.report.bytes() + features * 8 + logits * size_of::<f32>()
    }
}

impl PrefixCache {
    /// Creates a cache of at most `max_bytes`; 0 keeps nothing.
    pub(super) fn new(max_bytes: usize) -> Self {
        Self {
            roots: HashMap::new(),
            pieces: HashMap::new(),
            ages: BTreeMap::new(),
            max_bytes,
            bytes: 0,
            clock: 0,
            next_id: 0,
        }
    }

    /// The root of prompts with the changes `changes`.
    pub(super) fn root(&mut self, changes: Digest) -> Id {
        if let Some(&id) = self.roots.get(&changes) {
            return id;
        }
        // Clients can create any number of roots, so drop those whose pieces are gone.
        if self.roots.len() > 2 * self.pieces.len() + MAX_EMPTY_ROOTS {
            let parents: HashSet<Id> = self.pieces.keys().map(|(parent, _)| *parent).collect();
            self.roots.retain(|_, root| parents.contains(root));
        }
        let id = self.new_id();
        self.roots.insert(changes, id);
        id
    }

    /// Looks up the piece `tokens` after `parent`.
    pub(super) fn get(&mut self, parent: Id, tokens: &[u32]) -> Option<(Id, Arc<CachedPiece>)> {
        let key = (parent, tokens.into());
        let piece = self.pieces.get_mut(&key)?;
        self.clock += 1;
        self.ages.remove(&piece.used);
        piece.used = self.clock;
        self.ages.insert(self.clock, key);
        Some((piece.id, Arc::clone(&piece.kept)))
    }

    /// Stores a piece, merging it with a stored one, and returns its id.
    pub(super) fn put(&mut self, parent: Id, tokens: &[u32], mut kept: CachedPiece) -> Id {
        self.clock += 1;
        let key = (parent, tokens.into());
        let id = match self.pieces.remove(&key) {
            Some(before) => {
                self.bytes -= before.bytes;
                self.ages.remove(&before.used);
                for (hook, features) in &before.kept.features {
                    kept.features.entry(*hook).or_insert_with(|| features.clone());
                }
                kept.logits = kept.logits.or_else(|| before.kept.logits.clone());
                before.id
            }
            None => self.new_id(),
        };
        let bytes = kept.bytes() + size_of_val(tokens);
        if bytes <= self.max_bytes {
            while self.bytes + bytes > self.max_bytes {
                self.forget_oldest();
            }
            self.bytes += bytes;
            self.ages.insert(self.clock, key.clone());
            self.pieces.insert(key, Piece { id, kept: Arc::new(kept), bytes, used: self.clock });
        }
        id
    }

    fn forget_oldest(&mut self) {
        let (_, key) = self.ages.pop_first().expect("what takes memory is there");
        let piece = self.pieces.remove(&key).expect("a piece for each age");
        self.bytes -= piece.bytes;
    }

    fn new_id(&mut self) -> Id {
        self.next_id += 1;
        self.next_id
    }
}
