use super::{Position, TenantName, Username};
use serde::{Deserialize, Serialize};

/// What stands before the colon in the name that takes the place of a deleted user's: no user can have it, and no guest has.
const STAND_IN: &str = "deleted";

/// What is to be erased of a deleted user. It goes on in steps until nothing is left, over restarts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Erasure {
    /// The name that the user had. Nobody has it before the erasure has ended.
    pub username: Username,
    /// The name that takes its place.
    pub stand_in: Username,
    /// What happens to the events that the user inserted.
    pub erase: Erase,
    /// The tenant that all of them are in; `None` if the user has been in several.
    pub tenant: Option<TenantName>,
    /// The head when the user was deleted. No event of theirs is after it.
    pub until: Position,
}

/// What happens to the events that a deleted user inserted. Their inbox is removed in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Erase {
    /// They are removed, those of the history too.
    Remove,
    /// They stay, and another name takes the place of the user's.
    Anonymise,
}

impl Erase {
    /// Reads the word for it.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Remove, Self::Anonymise].into_iter().find(|erase| erase.as_str() == word)
    }

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Remove => "remove",
            Self::Anonymise => "anonymise",
        }
    }
}

impl Erasure {
    /// A new name to take the place of a deleted user's.
    pub fn stand_in(random: [u8; 8]) -> Username {
        let random: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        Username::of_guest(STAND_IN, &random)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_that_takes_the_place_of_a_deleted_users_is_short_and_no_users() {
        let name = Erasure::stand_in([0, 1, 2, 3, 4, 5, 6, 255]);
        assert_eq!(name.as_str(), "deleted:00010203040506ff");
        assert!(name.is_guest() && Username::parse(name.as_str()).is_err());
        assert_eq!(Username::from_stored(name.as_str()), Ok(name));
    }
}
