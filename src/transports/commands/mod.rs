//! What clients ask for on a connection on which they have signed in, and what they are answered: the same on every transport of our own
//! that has such connections.

mod answer;
mod body;
mod sign_in;
mod signed_in;

pub use answer::Answer;
pub use body::{Body, Verb};
pub use sign_in::{Opening, SignIn};
pub use signed_in::{Doing, MAX_IN_FLIGHT, Obeyed, SignedIn};
