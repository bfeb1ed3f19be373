//! What the server says.

use serde_json::Value;

use crate::support::Answer;

/// Nothing against it, or why not.
pub type Said = Result<(), String>;

/// What an answer of HTTP says: its status, and the code of a refusal.
pub fn of_answer(answer: &Answer) -> Said {
    if answer.status == 200 { Ok(()) } else { Err(format!("{} {}", answer.status, answer.code())) }
}

/// What an answer to a command says: the code of a refusal.
pub fn of_object(answer: &Value) -> Said {
    answer["code"].as_str().map_or(Ok(()), |code| Err(code.to_owned()))
}

/// Whether something was refused, by one of these codes.
pub fn is_one_of(said: &Said, codes: &str) -> bool {
    said.as_ref().is_err_and(|said| codes.split(" or ").any(|code| code == said))
}
