//! `/why`: the token in question.

use anyhow::{Result, bail};

use super::job::Job;
use super::session::{Reply, Session, TokenRef};
use super::turn::Token;

impl Session {
    /// Explains the last generated token that is `word`; without one the selected token, else the newest.
    pub(super) fn why(&self, word: Option<&str>, cells: usize) -> Result<Reply> {
        if self.model_info.saes.is_empty() {
            bail!("no SAE is loaded; load one with --sae PATH");
        }
        let Some(at) = self.token_in_question(word) else {
            match word {
                Some(word) => bail!("no generated token is `{word}`"),
                None => bail!("no token to explain yet; type the beginning of a story"),
            }
        };
        let (turn, variant) = (&self.turns[at.turn], &self.turns[at.turn].variants[at.variant]);
        let position = variant.tokens[at.token].position;
        if position == 0 {
            bail!("no token comes before the first one");
        }
        let generated = variant.generated().map(|token| token.id);
        let tokens: Vec<u32> =
            turn.ids.iter().copied().chain(generated).take(position + 1).collect();
        let is_steered = variant.is_steered && variant.tokens[at.token].is_generated();
        Ok(Reply::Work(Job::Why { tokens, is_steered, cells }))
    }

    fn token_in_question(&self, word: Option<&str>) -> Option<TokenRef> {
        if word.is_none() && self.selected.is_some() {
            return self.selected;
        }
        let turns = self.turns.iter().enumerate().rev();
        let mut texts = turns.flat_map(|(at, turn)| {
            turn.variants.iter().enumerate().rev().map(move |(variant, text)| (at, variant, text))
        });
        texts.find_map(|(turn, variant, text)| {
            let is_meant = |token: &Token| {
                token.is_generated() && word.is_none_or(|word| token.name.trim() == word.trim())
            };
            let token = text.tokens.iter().rposition(is_meant)?;
            Some(TokenRef { turn, variant, token })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::test_session::{events, job, message, refused, session, token};

    /// The question about the text of `ids`.
    fn asked(texts: &[&str], is_steered: bool) -> Job {
        let ids = texts.iter().map(|text| token(0, text, true).id);
        Job::Why { tokens: [0, 5].into_iter().chain(ids).collect(), is_steered, cells: 80 }
    }

    #[test]
    fn the_token_in_question_is_the_named_one_else_the_selected_one_else_the_newest() {
        let mut session = session();
        assert!(refused(&mut session, "/why").contains("no token to explain yet"));
        message(&mut session, "/steer 7:add:27");
        job(&mut session, "Once");
        for event in events(&[&[" there", " was"], &[" a", " dog"]]) {
            session.record(event);
        }

        assert_eq!(job(&mut session, "/why"), asked(&[" a", " dog"], true));
        assert_eq!(job(&mut session, "/why a"), asked(&[" a"], true));
        assert_eq!(job(&mut session, "/why there"), asked(&[" there"], false));
        assert_eq!(refused(&mut session, "/why cat"), "no generated token is `cat`");
        // A token of the prompt is explained too, by what comes before it.
        session.selected = Some(TokenRef { turn: 0, variant: 1, token: 0 });
        assert_eq!(job(&mut session, "/why"), asked(&[], false));
        session.selected = Some(TokenRef { turn: 0, variant: 0, token: 2 });
        assert_eq!(job(&mut session, "/why"), asked(&[" there", " was"], false));
        session.model_info.saes.clear();
        assert!(refused(&mut session, "/why").contains("no SAE is loaded"));
    }
}
