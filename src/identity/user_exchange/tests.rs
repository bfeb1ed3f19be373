//! Guards that checks of passwords do the work of imported hashes from the moment when these are there until none is left.

use serde_json::json;

use super::super::password::Work;
use super::super::tests::{House, device, local, read};
use super::super::{Credentials, Identity, index_names};
use super::*;
use crate::writer::Here;

/// bcrypt with a cost of 6, of the password `a`.
const HASH: &str = "$2a$06$m0CrhHm10qJ3lXRY.5zDGO3rS2KdeeWLuGmsfGlMfOxih58VYVfxe";

/// One of ours.
const OURS: &str = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

struct Put(ImportedUser);

impl Change for Put {
    type Outcome = ();
    type Reach = Here;

    fn decide(self, batch: &mut Batch<'_>) -> Result<(), Error> {
        self.0.put(batch)
    }
}

async fn import(identity: &Identity, name: &str) -> Result<(), Error> {
    let line = json!({ "username": name, "tenant_name": "acme", "password_hash": HASH });
    let user = identity.imported_user(&Admin { from: local() }, read(&line), read(&line))?;
    // No user is new before that.
    index_names(&identity.0.store, &identity.0.writer).await?;
    identity.0.writer.submit(Put(user)).await
}

fn kept(house: &House) -> Option<(Work, u64)> {
    let setting = house.store.setting(WORK_SETTING).unwrap()?;
    let KeptWork { work, users } = serde_json::from_slice(&setting).unwrap();
    Some((work, users))
}

#[tokio::test]
async fn checks_do_the_work_of_imported_hashes_until_their_users_have_signed_in() {
    let house = House::with_password("correct horse").await;
    let identity = &house.identity;
    identity.forget_work().await.unwrap();
    assert_eq!(kept(&house), None, "nobody was imported");
    import(identity, "alice").await.unwrap();
    import(identity, "bob").await.unwrap();
    let (scheme, cost) = Kept::parse(HASH).unwrap().cost();
    assert_eq!(kept(&house), Some((Work::of(scheme, cost), 2)));
    let sign_in = async |name: &str| {
        let credentials: Credentials = read(&json!({ "username": name, "password": "a" }));
        identity.login(credentials, device()).await.map(drop).unwrap();
    };
    let (argon2, ours) = Kept::parse(OURS).unwrap().cost();
    for (name, of_bcrypt) in [("alice", Work::of(scheme, cost)), ("bob", Work::default())] {
        sign_in(name).await;
        identity.forget_work().await.unwrap();
        assert_eq!(kept(&house).unwrap().0, Work::of(argon2, ours).and(of_bcrypt), "{name}: and no more than that");
    }
}

#[tokio::test]
async fn what_is_imported_while_the_hashes_are_looked_at_counts() {
    let house = House::with_password("correct horse").await;
    import(&house.identity, "alice").await.unwrap();
    let before = house.store.setting(WORK_SETTING).unwrap().unwrap();
    // It takes no more work than what there is.
    import(&house.identity, "bob").await.unwrap();
    let lower = LowerWork { before, needed: Work::default() };
    house.identity.0.writer.submit(lower).await.unwrap();
    let (scheme, cost) = Kept::parse(HASH).unwrap().cost();
    assert_eq!(kept(&house), Some((Work::of(scheme, cost), 2)));
}
