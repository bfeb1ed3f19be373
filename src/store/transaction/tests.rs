//! Guards transactions: what a change may add to a user that is too large.

use super::*;
use crate::domain::{Generation, Payload};
use crate::store::Store;

#[test]
fn a_user_that_is_too_large_already_can_change_and_shrink_but_not_grow() {
    let directory = tempfile::tempdir().unwrap();
    let (_store, mut committer) = Store::open(directory.path(), 64 << 20).unwrap();
    let mut transaction = committer.begin(Timestamp::from_millis(1)).unwrap();
    let of = |bytes: usize| User { data: Some(Payload::from_stored(&"1".repeat(bytes))), ..User::example() };
    let before = of(MAX_USER_BYTES);
    transaction.put_user(&before);
    assert!(transaction.user(&before.username).unwrap().is_some());
    let mut put = |user: &User| transaction.put_user_as_given(user, Some(&before));
    assert_eq!(put(&User { generation: Generation(u64::MAX), revoked: true, ..before.clone() }), Ok(()));
    assert_eq!(put(&User { two_factor: Some(false), ..before.clone() }), Ok(()));
    assert_eq!(put(&of(MAX_USER_BYTES - 1)), Ok(()));
    assert_eq!(put(&of(MAX_USER_BYTES + 1)), Err(Error::UserTooLarge));
    assert_eq!(transaction.put_user_as_given(&before, None), Err(Error::UserTooLarge));
}
