//! Guards how the events of a share are distributed: whose turn it is, what waits, and what goes to somebody else.

use super::*;

/// A share, and a member of it that sees names that begin with a letter.
fn member(state: &mut State, room: usize, sees: &'static str) -> (u64, Arc<Inbox>) {
    let inbox = Arc::<Inbox>::default();
    let member = state.join(Arc::clone(&inbox), 1, Box::new(move |topic| topic.starts_with(sees)));
    state.offer(member, room);
    (member, inbox)
}

fn take(state: &mut State, position: u64, topic: &str) -> bool {
    state.take(Position::new(position), topic, || Bytes::from_static(b"record"))
}

/// The positions of what is in an inbox, and whether their records are with them.
fn given(inbox: &Inbox) -> Vec<(u64, bool)> {
    let (items, _) = inbox.take(std::task::Waker::noop());
    items.into_iter().map(|(_, item)| (item.position.get(), item.record.is_some())).collect()
}

fn item(position: u64, topic: &str) -> Item {
    Item { position: Position::new(position), topic: topic.into(), record: None }
}

fn is_ready(state: &mut State) -> bool {
    state.poll_ready(&mut Context::from_waker(std::task::Waker::noop())).is_ready()
}

#[test]
fn members_have_their_turns_as_long_as_they_take_more() {
    let mut state = State::default();
    let (_, a) = member(&mut state, 3, "");
    let (second, b) = member(&mut state, 1, "");
    assert!((1..=4).all(|position| take(&mut state, position, "x")));
    assert_eq!(given(&a), [(1, true), (3, true), (4, true)]);
    assert_eq!(given(&b), [(2, true)]);
    assert!(!take(&mut state, 5, "x") && !is_ready(&mut state), "nobody takes more");
    state.offer(second, 1);
    assert!(is_ready(&mut state) && take(&mut state, 5, "x"));
    assert_eq!(given(&b), [(5, true)]);
}

#[test]
fn what_nobody_may_see_is_passed_over_and_what_one_alone_may_see_is_set_aside() {
    let mut state = State::default();
    let (full, a) = member(&mut state, 0, "a");
    let (_, b) = member(&mut state, 1000, "b");
    assert!(take(&mut state, 1, "c") && take(&mut state, 2, "a") && take(&mut state, 3, "b"));
    assert_eq!((given(&a), given(&b)), (vec![], vec![(3, true)]));
    state.offer(full, 1);
    assert_eq!(given(&a), [(2, false)]);
    // No more than so many: then the stream waits.
    let aside = (10..1000).take_while(|position| take(&mut state, *position, "a")).count();
    assert_eq!(aside, 100);
    assert!(!is_ready(&mut state));
    // They are for nobody once the member has left.
    assert!(!state.leave(full));
    assert!(is_ready(&mut state));
    let (_, a) = member(&mut state, 5, "a");
    assert!(given(&a).is_empty());
}

#[test]
fn what_was_set_aside_for_one_that_may_not_see_it_any_more_is_for_nobody() {
    let mut state = State::default();
    let (renewed, a) = member(&mut state, 0, "a");
    let (_, b) = member(&mut state, 1000, "b");
    let (full, c) = member(&mut state, 0, "c");
    assert!((1..200).any(|position| !take(&mut state, position, "a")) && !is_ready(&mut state));
    state.renew(renewed, Box::new(|topic| topic.starts_with('b')));
    // It takes no place of what is set aside for others.
    assert!(is_ready(&mut state) && take(&mut state, 200, "c"));
    state.offer(renewed, 5);
    state.offer(full, 5);
    assert!(take(&mut state, 201, "b") && take(&mut state, 202, "b"));
    assert_eq!((given(&b), given(&a), given(&c)), (vec![(201, true)], vec![(202, true)], vec![(200, false)]));
}

#[test]
fn what_is_given_back_goes_to_another_first() {
    let mut state = State::default();
    let (first, a) = member(&mut state, 0, "");
    let (second, b) = member(&mut state, 0, "");
    state.give_back(vec![item(7, "x"), item(6, "x")]);
    state.offer(second, 5);
    assert_eq!(given(&b), [(6, false), (7, false)]);
    state.give_back(vec![item(8, "x")]);
    assert_eq!((given(&a), given(&b)), (vec![], vec![(8, false)]));
    assert!(!state.leave(first) && state.leave(second));
    // Nobody is there.
    state.give_back(vec![item(9, "x")]);
    let gone = state.poll_gone(&mut Context::from_waker(std::task::Waker::noop()));
    assert!(gone.is_ready());
}

#[test]
fn who_comes_to_a_share_whose_stream_has_ended_opens_another() {
    let (shares, inbox, opened) = (Shares::default(), Arc::<Inbox>::default(), std::cell::Cell::new(0));
    let key = || (TenantName::parse("acme").unwrap(), SharedFilter::parse("$share/g/a").unwrap(), None);
    let join = || {
        let open = |_: &Arc<Share>| {
            opened.set(opened.get() + 1);
            Ok(())
        };
        shares.join(key(), (&inbox, 1), Box::new(|_| true), open).unwrap()
    };
    let (first, second) = (join(), join());
    assert!(opened.get() == 1 && Arc::ptr_eq(first.share(), second.share()));
    first.share().end(Ending { why: crate::events::End::Unreadable, told: None });
    let third = join();
    assert!(opened.get() == 2 && !Arc::ptr_eq(first.share(), third.share()));
    drop((first, second));
    assert!(Arc::ptr_eq(join().share(), third.share()) && opened.get() == 2);
}

#[test]
fn an_inbox_holds_few_records_and_the_others_are_read_later() {
    let mut state = State::default();
    let (_, inbox) = member(&mut state, 100, "");
    let large = || Bytes::from(vec![b'x'; 40 << 10]);
    assert!((1..=4).all(|position| state.take(Position::new(position), "x", large)));
    assert_eq!(given(&inbox), [(1, true), (2, true), (3, false), (4, false)]);
    assert!(state.take(Position::new(5), "x", large));
    assert_eq!(given(&inbox), [(5, true)]);
}
