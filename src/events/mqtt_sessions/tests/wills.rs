//! Guards wills: that each comes once, at its time, and by a right.

use super::*;
use crate::config::Limits;

#[tokio::test]
async fn a_will_of_a_guest_waits_until_its_token_ends_and_not_longer_and_a_newer_token_counts_from_when_it_is_shown() {
    let house = House::new();
    let now = Clock::from_local().now();
    let (soon, later) = (now + Duration::from_millis(300), now + Duration::from_secs(3600));
    let of = |until| guest(&["7/*"], Some(until));
    let begin = |client_id: &str, until| {
        let guest = of(until);
        let key = MqttSessionKey { username: guest.username().clone(), client_id: client_id.into() };
        let will =
            will(&format!("7/{client_id}"), 60).map(|will| KeptWill { by: WillRight::Token(Some(until)), ..will });
        BeginMqttSession { key, auth_context: AuthContext::Guest(guest), will, ..connect("") }
    };
    let (waits, renews) = (house.begin_anew(begin("waits", soon)).await, house.begin_anew(begin("renews", soon)).await);
    let stays = house.begin_anew(begin("stays", soon)).await;
    assert!(house.change(renews, MqttSessionChange::RenewWill(AuthContext::Guest(of(later)))).await);
    house.end(waits, WillFate::AfterDelay).await;
    house.end(renews, WillFate::AfterDelay).await;
    assert!(house.names().is_empty());
    house.maintained(1000, |store| store.head().get() > 0).await;
    assert_eq!(house.names(), ["7/waits"]);
    // A connection ends when its token does: the will comes then, whatever its delay.
    house.end(stays, WillFate::AfterDelay).await;
    assert_eq!(house.names(), ["7/waits", "7/stays"]);
    assert!(house.store.mqtt_session(renews).unwrap().unwrap().will.is_some());
    // A newer token that does not permit it takes it away.
    let other = MqttSessionChange::RenewWill(AuthContext::Guest(guest(&["8/*"], Some(later))));
    assert!(house.change(renews, other).await);
    assert_eq!(house.store.mqtt_session(renews).unwrap().unwrap().will, None);
}

#[tokio::test]
async fn a_will_is_published_once_or_never_as_the_connection_ends() {
    let house = House::new();
    for (fate, delay, wanted) in [
        (WillFate::AfterDelay, 0, 1),
        (WillFate::AfterDelay, 60, 0),
        (WillFate::Now, 60, 1),
        (WillFate::Discarded, 0, 0),
    ] {
        let before = house.names().len();
        let id = house.begin_anew(BeginMqttSession { will: will("gone", delay), ..connect("phone") }).await;
        assert!(house.end(id, fate).await);
        assert!(house.end(id, fate).await, "again");
        assert_eq!(house.names().len() - before, wanted, "{fate:?} {delay}");
        // One that waits is not published if the session goes on, and is if it ends.
        let begin = BeginMqttSession { clean_start: false, ..connect("phone") };
        let waited = will("gone", delay).filter(|_| wanted == 0 && fate == WillFate::AfterDelay);
        assert_eq!(house.goes_on(begin).await, (id, waited));
        assert_eq!(house.store.mqtt_session(id).unwrap().unwrap().will, None);
        assert_eq!(house.names().len() - before, wanted);
        house.change(id, MqttSessionChange::Forget).await;
    }
    let before = house.names().len();
    let id = house.begin_anew(BeginMqttSession { will: will("gone", 60), ..connect("phone") }).await;
    house.end(id, WillFate::AfterDelay).await;
    let anew =
        house.begin_anew(BeginMqttSession { clean_start: true, will: will("other", 0), ..connect("phone") }).await;
    assert_eq!(house.names().len() - before, 1);
    assert!(house.change(anew, MqttSessionChange::PutWill(None)).await);
    house.end(anew, WillFate::AfterDelay).await;
    // A client that is not let in after all takes nothing from the session, whose will waits on.
    let id = house.begin_anew(BeginMqttSession { will: will("waits", 60), ..connect("c") }).await;
    house.end(id, WillFate::AfterDelay).await;
    let waits = house.store.mqtt_session(id).unwrap();
    let refused = BeginMqttSession { expiry: 0, will: will("refused", 0), ..connect("c") };
    let BegunMqttSession::Present(_, was) = house.begin(refused).await else { panic!("it goes on") };
    house.change(id, MqttSessionChange::PutBack(was)).await;
    house.store.mqtt_cursors().lose(id);
    house.maintained(1000, |store| store.mqtt_cursors().some_lost(1).is_empty()).await;
    assert_eq!(house.store.mqtt_session(id).unwrap(), waits);
    // A session without an expiry has a will, too.
    let brief = house.begin_anew(BeginMqttSession { expiry: 0, will: will("brief", 60), ..connect("b") }).await;
    house.end(brief, WillFate::AfterDelay).await;
    assert_eq!(house.names().split_off(before), ["gone", "brief"]);
    assert_eq!(house.store.mqtt_session(brief), Ok(None));
}

#[tokio::test]
async fn a_session_ends_whatever_is_damaged_where_its_will_is_to_go() {
    for damaged in [&b"n\0\x04acmegone"[..], b"f\0\x04acme", b"c\0\x04acme"] {
        let house = House::new();
        let will = will("gone", 0).map(|will| KeptWill { retain: true, ..will });
        let id = house.begin_anew(BeginMqttSession { will, ..connect("phone") }).await;
        house.store.smuggle(damaged.to_vec(), b"?");
        assert!(house.end(id, WillFate::AfterDelay).await, "{damaged:?}");
        let session = house.store.mqtt_session(id).unwrap().unwrap();
        assert!(session.head.ended_at.is_some() && session.will.is_none() && house.names().is_empty());
    }
}

#[tokio::test]
async fn a_will_is_published_with_the_rights_of_then() {
    let house = House::new();
    let end = async |begin: BeginMqttSession| {
        let id = house.begin_anew(BeginMqttSession { clean_start: true, ..begin }).await;
        assert!(house.end(id, WillFate::AfterDelay).await);
    };
    let of_guest = |topic: &str, names: &[&str], until: Option<u64>| {
        let guest = guest(names, until.map(Timestamp::from_millis));
        let key = MqttSessionKey { username: guest.username().clone(), client_id: "phone".into() };
        let by = WillRight::Token(guest.expires_at());
        let will = will(topic, 0).map(|will| KeptWill { by, ..will });
        BeginMqttSession { key, auth_context: AuthContext::Guest(guest), will, ..connect("phone") }
    };
    end(of_guest("7/a", &["7/*"], None)).await;
    let refused = house.writer.submit(of_guest("8/a", &["7/*"], None)).await;
    assert_eq!(refused, Err(Error::MissingScope("8/a:post".to_owned())));
    house.rules.set(writer::Rules { authorize: Authorize::Scopes, ..writer::Rules::permissive() });
    let of_user = BeginMqttSession { will: will("no/scope", 0), ..connect("phone") };
    assert_eq!(house.writer.submit(of_user).await, Err(Error::MissingScope("no/scope:post".to_owned())));
    assert_eq!(house.names(), ["7/a"]);
    house.rules.set(writer::Rules::permissive());
    // One whose sign-in has ended meanwhile, one that no event may be called, and one that is too much.
    let other = SignIn { generation: Generation(2), ..sign_in() };
    let by = WillRight::SignIn(other);
    end(BeginMqttSession { will: will("a", 0).map(|will| KeptWill { by, ..will }), ..connect("a") }).await;
    end(BeginMqttSession { will: will("$a", 0), ..connect("a") }).await;
    let id = house.begin_anew(BeginMqttSession {
        will: will("b", 0).map(|will| KeptWill { retain: true, ..will }),
        ..connect("b")
    });
    let id = id.await;
    let change = MqttSessionChange::End(MqttProgress::default(), None, WillFate::Now);
    let rules = writer::Rules::permissive();
    house.rules.set(writer::Rules { limits: Limits { max_names: 0, ..rules.limits.clone() }, ..rules });
    assert_eq!(house.writer.submit(ChangeMqttSession { id, change }).await, Ok(true));
    assert_eq!(house.names(), ["7/a"]);
}
