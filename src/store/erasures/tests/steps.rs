//! What happens in a tenant before one of its users is deleted.

use super::*;

#[derive(Clone, Debug)]
pub(super) enum Step {
    Insert { by_zoe: bool, name: u8, large: bool, expires: bool, bound: bool },
    Transient { by_zoe: bool, name: u8, expires: bool },
    Remove { by_zoe: bool, name: u8 },
    Shorten { keep: usize },
}

pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let flag = any::<bool>;
    let step = prop_oneof![
        6 => (flag(), 0..5_u8, prop::bool::weighted(0.1), flag(), prop::bool::weighted(0.1))
            .prop_map(|(by_zoe, name, large, expires, bound)| Step::Insert { by_zoe, name, large, expires, bound }),
        3 => (flag(), 0..5_u8, flag()).prop_map(|(by_zoe, name, expires)| Step::Transient { by_zoe, name, expires }),
        2 => (flag(), 0..5_u8).prop_map(|(by_zoe, name)| Step::Remove { by_zoe, name }),
        1 => (0..6_usize).prop_map(|keep| Step::Shorten { keep }),
    ];
    prop::collection::vec(step, 1..40)
}

/// One of a few event names; the last is in the inbox of the user.
fn event_name(number: u8) -> EventName {
    let inbox = format!("@{NAME}/note");
    EventName::parse(["a", "b", "c/d", "e", &inbox][usize::from(number)]).unwrap()
}

pub(super) fn take(store: &Store, committer: &mut Committer, step: &Step) {
    let acme = tenant("acme");
    let by = |by_zoe: bool| username(if by_zoe { NAME } else { "max" });
    match *step {
        Step::Insert { by_zoe, name, large, expires, bound } => change(committer, |transaction| {
            let data = if large { format!("\"{}\"", "x".repeat(150_000)) } else { "1".to_owned() };
            let data = Payload::from_valid_json(&data).unwrap();
            let expires_at = expires.then_some(Timestamp::from_millis(100_000));
            let draft = Draft::value(acme, by(by_zoe), event_name(name), data);
            let event = transaction.insert_event(Draft { expires_at, ..draft })?;
            if bound { transaction.bind(&event, 77) } else { Ok(()) }
        }),
        Step::Transient { by_zoe, name, expires } => change(committer, |transaction| {
            let expires_at = expires.then(|| Timestamp::from_millis(100_000));
            let draft = Draft::transient(acme, by(by_zoe), event_name(name), Payload::null());
            transaction.insert_event(Draft { expires_at, ..draft }).map(drop)
        }),
        Step::Remove { by_zoe, name } => change(committer, |transaction| {
            if transaction.latest_position(&acme, &event_name(name))?.is_some() {
                transaction.insert_event(Draft::removal(acme, by(by_zoe), event_name(name)))?;
            }
            Ok(())
        }),
        Step::Shorten { keep } => {
            let moment = Timestamp::from_millis(1);
            let mut count = crate::store::TailCount::new(store, acme.clone()).unwrap();
            let length = std::iter::repeat_with(|| count.step(store).unwrap()).find_map(|counted| counted).unwrap().0;
            let excess = Excess { surplus: length.saturating_sub(keep), before: moment, now: moment, at_most: 64 };
            let oldest = store.oldest(&acme, excess).unwrap();
            change(committer, |transaction| transaction.shorten(oldest).map(drop));
        }
    }
}
