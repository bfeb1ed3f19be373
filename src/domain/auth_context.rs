use super::{Guest, SignIn};
use serde::{Deserialize, Serialize};

/// What a request's rights rest on. It is looked at again before anything is done by them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum AuthContext {
    /// The sign-in of a user. The rights end when the user's account no longer upholds it.
    User(SignIn),
    /// The token of a guest, who has no account. The rights end with it.
    Guest(Guest),
}
