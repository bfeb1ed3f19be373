//! Guards events that were published over MQTT: they come back as they were, over a restart and with large content, and go whole.

use super::*;
use crate::domain::{Erase, EventKind, PayloadForm, Properties, Published, User};
use crate::store::erasures::ErasureScan;

fn published(raw: usize, correlation_data: usize) -> Published {
    let form = if raw > 0 { PayloadForm::Raw(vec![b' '; raw].into()) } else { PayloadForm::Text };
    let correlation_data = Some(vec![7; correlation_data]);
    let properties = Properties { correlation_data, ..Published::example().properties };
    Published { form, properties, ..Published::example() }
}

fn draft(name: &str, kind: EventKind, data: &str) -> Draft {
    let (name, user) = (EventName::parse(name).unwrap(), Username::parse("u").unwrap());
    Draft { kind, ..Draft::value(tenant("a"), user, name, Payload::from_valid_json(data).unwrap()) }
}

fn commit(committer: &mut Committer, millis: u64, draft: Draft) -> Event {
    let mut transaction = committer.begin(Timestamp::from_millis(millis)).unwrap();
    transaction.insert_event(draft).unwrap();
    transaction.commit().unwrap().reveal().remove(0)
}

/// What was stored of an event beside its name.
type Stored = (u64, String, EventKind, Option<Timestamp>, bool, Option<Published>);

fn stored(event: &StoredEvent<'_>) -> Stored {
    let published = event.published.as_deref().cloned();
    (event.position.get(), event.data.to_string(), event.kind, event.expires_at, event.by_expiry, published)
}

/// The whole history of a name.
fn history(store: &Store, name: &str) -> Vec<Stored> {
    let query = HistoryQuery {
        tenant: tenant("a"),
        name: EventName::parse(name).unwrap(),
        after: Position::START,
        before: Position::END,
        limit: 1000,
        oldest_first: true,
    };
    let (mut history, mut events) = (History::new(query), Vec::new());
    let each = &mut |event: StoredEvent<'_>| {
        events.push(stored(&event));
        Ok(())
    };
    while !matches!(history.next(store, 64 << 10, &mut *each).unwrap(), Page::Ends(_)) {}
    events
}

#[test]
fn what_was_published_comes_back_with_data_of_any_size_after_a_restart_too_and_goes_with_its_chunks() {
    for journal_bytes in [SMALL, LARGE] {
        let directory = tempfile::tempdir().unwrap();
        let (store, mut committer) = open_with(directory.path(), journal_bytes).unwrap();
        let mut expected = Vec::new();
        for (data, raw, correlation_data) in [(1, 0, 0), (1, 0, 60_000), (90_000, 13_000, 0), (90_000, 90_000, 60_000)]
        {
            for kind in [EventKind::Value, EventKind::Transient] {
                let published = published(raw, correlation_data);
                let expires_at = Some(Timestamp::from_millis(100));
                let draft = draft("x", kind, &format!("\"{}\"", "é".repeat(data / 2)));
                let draft = Draft { expires_at, published: Some(Arc::new(published.clone())), ..draft };
                let data = draft.data.to_string();
                let position = commit(&mut committer, 1, draft).position;
                expected.push((position.get(), data, kind, expires_at, false, Some(published)));
            }
        }
        assert_eq!(count(&store, b"p"), 2 * (2 + 4), "of values and transient events");
        assert_eq!(history(&store, "x"), expected);
        let event = committer.begin(Timestamp::from_millis(1)).unwrap().event(&tenant("a"), Position::new(7)).unwrap();
        assert_eq!(event.unwrap().published.as_deref(), expected[6].5.as_ref());
        drop((store, committer));
        let (store, mut committer) = open_with(directory.path(), journal_bytes).unwrap();
        assert_eq!(history(&store, "x"), expected);
        // One value is left, which a removal takes away.
        shorten(&store, &mut committer, "a", 0);
        assert_eq!(history(&store, "x").len(), 1);
        commit(&mut committer, 2, draft("x", EventKind::Removal, "null"));
        shorten(&store, &mut committer, "a", 0);
        assert_eq!([b"p", &[keys::EXPIRY]].map(|rows| count(&store, rows)), [0, 0]);
        assert!(history(&store, "x").is_empty());
    }
}

#[test]
fn a_transient_event_that_expires_leaves_no_chunks_and_a_value_a_removal_that_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let (store, mut committer) = open_with(directory.path(), LARGE).unwrap();
    let expires_at = Some(Timestamp::from_millis(5));
    for kind in [EventKind::Value, EventKind::Transient] {
        let published = Some(Arc::new(published(80_000, 60_000)));
        commit(&mut committer, 1, Draft { expires_at, published, ..draft("x", kind, "1") });
    }
    assert_eq!(count(&store, b"p"), 6);
    let keys = found(&store, &Search::for_expired(), 9).keys;
    let mut transaction = committer.begin(Timestamp::from_millis(9)).unwrap();
    assert_eq!(transaction.remove_expired(keys).unwrap(), 1);
    let removals = transaction.commit().unwrap().reveal();
    assert!(removals[0].by_expiry && removals[0].kind == EventKind::Removal);
    assert_eq!(count(&store, b"p"), 3, "those of the value, which is kept in the history");
    let [value, removal] = &history(&store, "x")[..] else { panic!() };
    assert_eq!((value.3, value.4, removal.2, removal.4), (expires_at, false, EventKind::Removal, true));
    commit(&mut committer, 10, draft("x", EventKind::Value, "1"));
    let by_somebody = commit(&mut committer, 11, draft("x", EventKind::Removal, "null"));
    assert!(!by_somebody.by_expiry && !history(&store, "x")[3].4);
}

#[test]
fn an_erasure_takes_properties_of_removals_with_it_and_everything_of_others() {
    let directory = tempfile::tempdir().unwrap();
    let (store, mut committer) = open_with(directory.path(), LARGE).unwrap();
    let with = |draft| Draft { published: Some(Arc::new(published(0, 60_000))), ..draft };
    commit(&mut committer, 1, with(draft("x", EventKind::Value, "1")));
    commit(&mut committer, 1, with(draft("x", EventKind::Removal, "null")));
    commit(&mut committer, 1, with(draft("y", EventKind::Transient, "1")));
    let mut transaction = committer.begin(Timestamp::from_millis(2)).unwrap();
    let user = User { username: Username::parse("u").unwrap(), tenant: tenant("a"), ..User::example() };
    transaction.delete_user(&user, Erase::Remove, Timestamp::from_millis(3), [1; 8]).unwrap();
    drop(transaction.commit().unwrap().reveal());
    let scan = ErasureScan::new(store.erasures(&std::collections::HashSet::new()).unwrap());
    let to_erase = store.find_to_erase(scan.clone()).unwrap();
    let mut transaction = committer.begin(Timestamp::from_millis(2)).unwrap();
    transaction.erase_events(to_erase.keys, &scan).unwrap();
    drop(transaction.commit().unwrap().reveal());
    let left = history(&store, "x");
    let [(2, _, EventKind::Removal, None, false, Some(published))] = &left[..] else { panic!("{left:?}") };
    assert_eq!(published.bytes(), 0);
    assert_eq!(published.publisher, Published::example().publisher);
    assert!(history(&store, "y").is_empty());
}

#[test]
fn content_of_which_something_is_missing_is_damaged_and_nothing_else_is() {
    let directory = tempfile::tempdir().unwrap();
    let (store, mut committer) = open_with(directory.path(), LARGE).unwrap();
    let large = Some(Arc::new(published(120_000, 0)));
    commit(&mut committer, 1, Draft { published: large, ..draft("x", EventKind::Value, "1") });
    commit(&mut committer, 1, draft("x", EventKind::Value, "2"));
    let mut transaction = committer.begin(Timestamp::from_millis(1)).unwrap();
    transaction.write(keys::chunk(Position::new(1), 0), overlay::Write::Put(vec![b'1'; chunks::CHUNK_BYTES].into()));
    drop(transaction.commit().unwrap().reveal());
    assert_eq!(history(&store, "x").iter().map(|event| event.0).collect::<Vec<_>>(), [2]);
}
