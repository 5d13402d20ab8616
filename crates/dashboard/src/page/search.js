"use strict";

/// The words of an automatic label that come from its rule and not from tokens.
const RULE_WORDS = /fires on many tokens|never fires here|fires on|fires after|promotes/g;

/// Returns a token or a word without case and without the spaces around it, which are shown as dots.
function bare(text) {
  return visible(text).normalize("NFC").toLowerCase().replace(/^[ ·]+|[ ·]+$/g, "");
}

/// Finds features by the words of a query, and says why each is found.
///
/// From the strongest match to the weakest: a word of a person's label, a token that the feature fires on, a
/// token that it promotes, a part of the label or of a token.
class Search {
  constructor(data, labels, token) {
    this.data = data;
    this.labels = labels;
    this.token = token;
    this.bareTokens = new Map();
    this.autoTexts = [];
  }

  /// Returns the hits for `query` by position in the data, in order of strength: `{ at, rank, strength, why }`,
  /// with a list of reasons. An empty query finds nothing.
  find(query) {
    const words = query.split(/\s+/).map(bare).filter((word) => word !== "");
    const index = this.index(query);
    const hits = [];
    if (words.length === 0) return hits;
    for (let at = 0; at < this.data.fires.length; at++) {
      const feature = this.data.about.features[0] + at;
      if (feature === index) hits.push({ at, rank: 0, strength: 1, why: [`its index is ${feature}`] });
      else {
        const hit = this.match(at, words);
        if (hit) hits.push({ at, ...hit });
      }
    }
    return hits.sort((a, b) => a.rank - b.rank || b.strength - a.strength || b.why.length - a.why.length || a.at - b.at);
  }

  /// Returns the index that a query such as `11`, `#11`, `2:11` or `blocks.2.hook_resid_post:11` names.
  index(query) {
    const [, at, index] = /^\s*(?:([\w.]+):)?#?(\d+)\s*$/.exec(query) ?? [];
    const { hook } = this.data.about;
    const here = at === undefined || at === hook || hook.startsWith(`blocks.${at}.`);
    return here && index !== undefined ? Number(index) : undefined;
  }

  /// Matches a feature with all of `words`. The weakest word decides.
  match(at, words) {
    const found = { rank: 0, strength: 1, why: [] };
    for (const word of words) {
      const reasons = this.reasons(at, word);
      if (reasons.length === 0) return undefined;
      const [{ rank, strength }] = reasons;
      if (rank > found.rank) [found.rank, found.strength] = [rank, strength];
      else if (rank === found.rank) found.strength = Math.min(found.strength, strength);
      for (const { why } of reasons) if (!found.why.includes(why)) found.why.push(why);
    }
    return found;
  }

  /// Returns all reasons why `word` finds a feature as a whole word or token, the strongest first, or else the
  /// strongest one why it does as a part of one.
  reasons(at, word) {
    const label = this.labels.get(this.data.about.features[0] + at);
    const [peaks, promoted] = [this.data.peaks[at], this.data.promoted[at]];
    const whole = [this.labelWord(label, word), this.firesOn(at, peaks, word), this.promotes(promoted, word)].filter(Boolean);
    if (whole.length > 0) return whole;
    const part = this.part(label, [["fires on", peaks], ["promotes", promoted]], word) ?? this.inAuto(at, word);
    return part ? [part] : [];
  }

  labelWord(label, word) {
    const words = label === undefined ? [] : bare(label).split(/[^\p{L}\p{N}]+/u).filter(Boolean);
    if (bare(label ?? "") !== word && !words.includes(word)) return undefined;
    return { rank: 1, strength: 1 / Math.max(1, words.length), why: `the label has the word “${word}”` };
  }

  firesOn(at, peaks, word) {
    const same = peaks.filter(([id]) => this.bareToken(id) === word);
    if (same.length === 0) return undefined;
    const count = same.reduce((sum, [, n]) => sum + n, 0);
    const of = this.data.examples[at];
    return { rank: 2, strength: count / of, why: `fires on ${this.names(same)} in ${count} of ${of} top examples` };
  }

  promotes(promoted, word) {
    const same = promoted.filter(([id]) => this.bareToken(id) === word);
    if (same.length === 0) return undefined;
    const value = Math.max(...same.map(([, effect]) => effect));
    return { rank: 3, strength: value, why: `promotes ${this.names(same)} ${signed(value)}` };
  }

  part(label, kinds, word) {
    if (bare(label ?? "").includes(word)) return { rank: 4, strength: word.length / label.length, why: `“${word}” is in the label` };
    for (const [kind, tokens] of kinds) {
      const found = tokens.find(([id]) => this.bareToken(id).includes(word));
      if (found) return { rank: kind === "promotes" ? 6 : 5, strength: word.length / this.bareToken(found[0]).length, why: `${kind} ${this.names([found])}, which contains “${word}”` };
    }
    return undefined;
  }

  inAuto(at, word) {
    this.autoTexts[at] ??= bare(this.data.auto[at].replace(RULE_WORDS, " "));
    return this.autoTexts[at].includes(word) ? { rank: 7, strength: 0, why: `“${word}” is in the automatic label` } : undefined;
  }

  names(tokens) {
    return tokens.slice(0, 3).map(([id]) => shown(this.token(id))).join(", ");
  }

  bareToken(id) {
    if (!this.bareTokens.has(id)) this.bareTokens.set(id, bare(this.token(id)));
    return this.bareTokens.get(id);
  }
}
