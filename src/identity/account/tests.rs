//! Guards what `/update_me` does before the writer decides.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use serde_json::json;

use crate::domain::{MAX_USER_BYTES, User};
use crate::error::Error;
use crate::identity::tests::{House, local, read};

/// What comes of an update without waiting, while the writer answers nothing.
fn at_once(house: &House, bytes: usize) -> Poll<Result<(), Error>> {
    let principal = house.principal();
    let input = read(&json!({ "data": "x".repeat(bytes) }));
    let update = pin!(house.identity.update_me(&principal, input, local()));
    update.poll(&mut Context::from_waker(Waker::noop()))
}

/// Any user may send them, as many as connections allow.
#[tokio::test]
async fn updates_that_no_user_may_have_do_not_wait_and_those_that_wait_are_counted_by_their_bytes() {
    let house = House::of(User::example()).await;
    let answers = house.answers.lock().unwrap();
    assert_eq!(at_once(&house, MAX_USER_BYTES + 1), Poll::Ready(Err(Error::UserTooLarge)));
    let bytes = MAX_USER_BYTES - 5000;
    let waiting = (0..4000).take_while(|_| at_once(&house, bytes).is_pending()).count();
    // 64 MiB, and what the writer has taken.
    assert!((64 << 20) / bytes <= waiting + 1 && waiting < 3000, "{waiting}");
    assert_eq!(at_once(&house, bytes), Poll::Ready(Err(Error::Overloaded)));
    drop(answers);
}
