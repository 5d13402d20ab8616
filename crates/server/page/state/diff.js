/** @import {Token} from "../types.d.ts" */

/**
 * Words of a text: ranges of whole tokens, with the text without the space before it.
 * @typedef {{from: number, to: number, text: string}} Word
 */

/** Maximum number of words that are compared at once; a longer text is compared piece by piece. */
const WINDOW = 3000;
/** Words in common between two changes are part of them if they are fewer than this and than either change. */
const FEW = 4;

/**
 * Splits tokens into words, which end at spaces and punctuation.
 * @param {Token[]} tokens
 * @returns {Word[]}
 */
export function words(tokens) {
  /** @type {Word[]} */
  const found = [];
  let before = "";
  for (const [at, { piece }] of tokens.entries()) {
    const last = found.at(-1);
    // A token that is part of a character has no text of its own.
    const goes = piece === "" || (/^[\p{L}\p{M}\p{N}'’]/u.test(piece) && /[\p{L}\p{M}\p{N}'’]$/u.test(before));
    if (last && goes) {
      last.to = at + 1;
      last.text += piece;
    } else {
      found.push({ from: at, to: at + 1, text: piece.replace(/^ /, "") });
    }
    if (piece !== "") before = piece;
  }
  return found;
}

/**
 * The tokens at which two texts differ, by phrases: the words that a longest common subsequence leaves
 * out, with the few words between them.
 * @param {Token[]} one
 * @param {Token[]} two
 * @returns {{marks: [boolean[], boolean[]], phrases: number, words: [number, number]}} the marked tokens of
 * both, the number of phrases, and of words in them
 */
export function differences(one, two) {
  const texts = [words(one), words(two)];
  const runs = merge(compare(texts[0].map(({ text }) => text), texts[1].map(({ text }) => text)));
  /** @type {[boolean[], boolean[]]} */
  const marks = [new Array(one.length).fill(false), new Array(two.length).fill(false)];
  const changed = runs.filter(({ same }) => !same);
  for (const run of changed) {
    for (const side of [0, 1]) {
      for (const word of texts[side].slice(run.from[side], run.to[side])) marks[side].fill(true, word.from, word.to);
    }
  }
  const size = (/** @type {number} */ side) => changed.reduce((sum, run) => sum + run.to[side] - run.from[side], 0);
  return { marks, phrases: changed.length, words: [size(0), size(1)] };
}

/**
 * Alternating runs of words that both texts have, and that differ.
 * @typedef {{same: boolean, from: [number, number], to: [number, number]}} Run
 */

/**
 * @param {string[]} one
 * @param {string[]} two
 * @returns {Run[]}
 */
function compare(one, two) {
  /** @type {[number, number][]} */
  const pairs = [];
  let [a, b] = [0, 0];
  while (a < one.length && b < two.length) {
    const found = common(one.slice(a, a + WINDOW), two.slice(b, b + WINDOW));
    for (const [x, y] of found) pairs.push([a + x, b + y]);
    const last = pairs.at(-1);
    const whole = one.length - a <= WINDOW && two.length - b <= WINDOW;
    if (whole || found.length === 0 || !last) break;
    [a, b] = [last[0] + 1, last[1] + 1];
  }
  /** @type {Run[]} */
  const runs = [];
  let at = /** @type {[number, number]} */ ([0, 0]);
  for (const [x, y] of [...pairs, /** @type {[number, number]} */ ([one.length, two.length])]) {
    if (x > at[0] || y > at[1]) runs.push({ same: false, from: at, to: [x, y] });
    const last = runs.at(-1);
    if (x < one.length && y < two.length) {
      if (last?.same) last.to = [x + 1, y + 1];
      else runs.push({ same: true, from: [x, y], to: [x + 1, y + 1] });
    }
    at = [x + 1, y + 1];
  }
  return runs;
}

/**
 * The pairs of indices of a longest common subsequence.
 * @param {string[]} one
 * @param {string[]} two
 * @returns {[number, number][]}
 */
function common(one, two) {
  let start = 0;
  while (start < one.length && start < two.length && one[start] === two[start]) start++;
  const width = two.length - start + 1;
  const table = new Uint16Array((one.length - start + 1) * width);
  for (let a = one.length - 1; a >= start; a--) {
    const row = (a - start) * width;
    for (let b = two.length - 1; b >= start; b--) {
      const here = row + b - start;
      table[here] = one[a] === two[b] ? table[here + width + 1] + 1 : Math.max(table[here + width], table[here + 1]);
    }
  }
  const pairs = Array.from({ length: start }, (_, at) => /** @type {[number, number]} */ ([at, at]));
  let [a, b] = [start, start];
  while (a < one.length && b < two.length) {
    const here = (a - start) * width + b - start;
    if (one[a] === two[b] && table[here] === table[here + width + 1] + 1) pairs.push([a++, b++]);
    else if (table[here + width] >= table[here + 1]) a++;
    else b++;
  }
  return pairs;
}

/**
 * Joins changes that only a few common words separate.
 * @param {Run[]} runs
 * @returns {Run[]}
 */
function merge(runs) {
  const size = (/** @type {Run | undefined} */ run) => (run ? Math.max(run.to[0] - run.from[0], run.to[1] - run.from[1]) : 0);
  /** @type {Run[]} */
  const out = [];
  for (let at = 0; at < runs.length; at++) {
    const run = runs[at];
    const last = out.at(-1);
    const next = runs[at + 1];
    if (run.same && last && next && size(run) < FEW && size(run) < Math.max(size(last), size(next))) {
      last.to = next.to;
      at++;
    } else {
      out.push({ ...run });
    }
  }
  return out;
}
