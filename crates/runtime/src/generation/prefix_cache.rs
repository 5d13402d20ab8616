use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use nanoscope_hooks::HookPoint;
use nanoscope_sae::SparseFeatures;
use nanoscope_transformer::KvTail;

use crate::pass::report::ReportBuilder;

/// The beginnings of prompts, so that a prompt that begins like an earlier one is not run from its
/// first token.
///
/// Prompts are run in pieces whose borders do not depend on what is kept, so a generation is the
/// same, bit for bit, whether its pieces are run or taken from here. A piece belongs to the one
/// before it, and the first to what a plan changes in a prompt.
#[derive(Debug)]
pub(super) struct PrefixCache {
    roots: HashMap<Digest, Id>,
    pieces: HashMap<Key, Piece>,
    /// When pieces were asked for last, the oldest first.
    ages: BTreeMap<u64, Key>,
    max_bytes: usize,
    bytes: usize,
    /// Counts up; what was asked for last has the largest.
    clock: u64,
    next_id: Id,
}

/// Of what a plan changes in a prompt (SHA-256): short, whatever clients write.
pub(super) type Digest = [u8; 32];

/// Roots that may lie about without a piece.
const MAX_EMPTY_ROOTS: usize = 1024;

pub(super) type Id = u64;

/// The piece before, or the root; and the tokens of this one.
type Key = (Id, Box<[u32]>);

#[derive(Debug)]
struct Piece {
    id: Id,
    kept: Arc<CachedPiece>,
    bytes: usize,
    used: u64,
}

/// What running a piece of a prompt gave.
#[derive(Debug, Clone)]
pub(super) struct CachedPiece {
    pub(super) tail: KvTail,
    /// Of the interventions that can change a prompt.
    pub(super) report: ReportBuilder,
    /// By hook point, a row for each token.
    pub(super) features: BTreeMap<HookPoint, SparseFeatures>,
    /// Of the position after the piece, if it ended a prompt.
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
    /// A cache of `max_bytes`; 0 keeps nothing.
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

    /// What prompts begin from that are changed by `changes`.
    pub(super) fn root(&mut self, changes: Digest) -> Id {
        if let Some(&id) = self.roots.get(&changes) {
            return id;
        }
        // A root whose pieces are gone is worth nothing, and clients make up as many as they like.
        if self.roots.len() > 2 * self.pieces.len() + MAX_EMPTY_ROOTS {
            let parents: HashSet<Id> = self.pieces.keys().map(|(parent, _)| *parent).collect();
            self.roots.retain(|_, root| parents.contains(root));
        }
        let id = self.new_id();
        self.roots.insert(changes, id);
        id
    }

    /// The piece `tokens` after `parent`, if it is kept.
    pub(super) fn get(&mut self, parent: Id, tokens: &[u32]) -> Option<(Id, Arc<CachedPiece>)> {
        let key = (parent, tokens.into());
        let piece = self.pieces.get_mut(&key)?;
        self.clock += 1;
        self.ages.remove(&piece.used);
        piece.used = self.clock;
        self.ages.insert(self.clock, key);
        Some((piece.id, Arc::clone(&piece.kept)))
    }

    /// Keeps a piece; one that is there gets what it lacks. Gives its id.
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
