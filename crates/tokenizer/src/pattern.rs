//! Validation of split patterns before the regular expression engine compiles them.

use crate::error::TokenizerError;
use crate::limits::MAX_PATTERN_BYTES;

/// Rejects a pattern that could exhaust or crash the engine when it is compiled.
///
/// The engine, fancy-regex, supports far more than a split pattern needs, and is not designed for
/// untrusted patterns: subroutine calls are expanded (exponentially), lookbehinds become complete
/// automata, nested repeats overflow a multiplication. Therefore only the constructs that tokenizers
/// use are accepted: groups, the flags `i`, `m` and `s`, lookaheads, atomic groups, classes,
/// quantifiers, and escapes for characters and their classes.
///
/// Constructs are also rejected within a character class, where most of them would be harmless.
pub(crate) fn check_pattern(pattern: &str) -> Result<(), TokenizerError> {
    if pattern.len() > MAX_PATTERN_BYTES {
        return Err(TokenizerError::PatternTooLong { found: pattern.len() });
    }
    let mut repeats: usize = 1;
    let mut rest = pattern;
    while let Some(first) = rest.chars().next() {
        let after = &rest[first.len_utf8()..];
        let mut taken = first.len_utf8();
        match first {
            '\\' => match after.chars().next() {
                Some(escaped) if is_known_escape(escaped) => {
                    taken += escaped.len_utf8();
                    if HAS_BRACES.contains(&escaped) && after[1..].starts_with('{') {
                        // Digits in these braces are a character's code, not a repeat count.
                        taken += after[1..].find('}').map_or(0, |end| end + 1);
                    }
                }
                _ => return Err(unsupported(pattern, rest, 2)),
            },
            '(' if after.starts_with('*') => return Err(unsupported(pattern, rest, 2)),
            '(' if after.starts_with('?') && !is_known_group(&after[1..]) => {
                return Err(unsupported(pattern, rest, 4));
            }
            '{' => repeats = repeats.saturating_mul(repeat_count(after)),
            _ => {}
        }
        rest = &rest[taken..];
    }
    if repeats > MAX_REPEATS {
        return Err(TokenizerError::PatternRepeatsTooOften { max: MAX_REPEATS });
    }
    Ok(())
}

fn is_known_escape(escaped: char) -> bool {
    escaped.is_ascii_punctuation() || "sSdDwWbBrntfvpPxu".contains(escaped)
}

fn is_known_group(after_question_mark: &str) -> bool {
    let flags_end = after_question_mark.trim_start_matches(['i', 'm', 's', '-']);
    flags_end.starts_with(':') || after_question_mark.starts_with(['=', '!', '>'])
}

/// The largest number in `n}`, `n,}` or `n,m}`, at least 1; 1 for anything else, which the engine
/// takes literally.
fn repeat_count(after_brace: &str) -> usize {
    let Some((inside, _)) = after_brace.split_once('}') else {
        return 1;
    };
    let numbers = inside.split(',').map(|number| match number.trim() {
        "" => Some(1),
        digits if digits.bytes().all(|digit| digit.is_ascii_digit()) => {
            Some(digits.parse().unwrap_or(usize::MAX))
        }
        _ => None,
    });
    let largest: Option<usize> =
        numbers.into_iter().try_fold(1, |largest, number| number.map(|number| number.max(largest)));
    largest.unwrap_or(1)
}

fn unsupported(pattern: &str, rest: &str, characters: usize) -> TokenizerError {
    TokenizerError::UnsupportedPattern {
        construct: rest.chars().take(characters).collect(),
        position: pattern.len() - rest.len(),
    }
}

/// Escapes that can be followed by braces, as in `\p{L}`.
const HAS_BRACES: [char; 4] = ['p', 'P', 'x', 'u'];

/// The largest product of the counts of all `{n,m}` in a pattern. nanochat's has one, `{1,2}`.
const MAX_REPEATS: usize = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_patterns_of_known_tokenizers_are_supported() {
        let patterns = [
            // nanochat
            r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,2}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+",
            // GPT-2
            r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s",
            // o200k, shortened
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}]*[\p{Ll}\p{Lo}\p{M}]+(?i:'s|'t|'ll)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s+",
            // DeepSeek, shortened
            r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[一-龥\x{3040}-\x{309f}]+|(?s:.)"##,
        ];
        for pattern in patterns {
            assert!(check_pattern(pattern).is_ok(), "{pattern}");
        }
    }

    #[test]
    fn what_no_split_pattern_needs_is_refused_with_its_place() {
        let cases = [
            (r"(?:a)\g<1>", r"\g", 5),
            (r"(a)\1", r"\1", 3),
            (r"a\k<x>", r"\k", 1),
            (r"a\K", r"\K", 1),
            (r"é\é", r"\é", 2),
            ("a\\", "\\", 1),
            (r"(?<x>a)", "(?<x", 0),
            (r"(?<=a*)b", "(?<=", 0),
            (r"(?P>x)", "(?P>", 0),
            (r"(?R)", "(?R)", 0),
            (r"a(?x: b)", "(?x:", 1),
            (r"a(?i)b", "(?i)", 1),
            (r"a(?", "(?", 1),
            (r"a(*FAIL)", "(*", 1),
        ];
        for (pattern, expected, place) in cases {
            let Err(TokenizerError::UnsupportedPattern { construct, position }) =
                check_pattern(pattern)
            else {
                panic!("{pattern} is not refused as unsupported");
            };
            assert_eq!((construct.as_str(), position), (expected, place), "{pattern}");
        }
    }

    #[test]
    fn counts_are_multiplied_and_codes_are_not() {
        let fine = [r"a{256}b{256}", r"a{,3}{}{x}{1,", r"[\x{3040}-\x{9000}\u{2028}\x{2029}]{9}"];
        let too_many = [
            r"(?:a{256}){257}",
            r"a{1,70000}",
            r"a{70000,}",
            r"a{99999999999999999999999}",
            r"(?:a{ 300 , 400 }){300}",
        ];
        for pattern in fine {
            assert!(check_pattern(pattern).is_ok(), "{pattern}");
        }
        for pattern in too_many {
            let refused = check_pattern(pattern);
            assert!(
                matches!(refused, Err(TokenizerError::PatternRepeatsTooOften { .. })),
                "{pattern}"
            );
        }
    }
}
