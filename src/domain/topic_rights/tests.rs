//! Guards which topic filters are granted to users and to guests, before anything is delivered by them.

use super::*;
use crate::domain::{Authorize, Guest, GuestInsert, GuestRights, Scope, TenantName, Username};
use proptest::prelude::*;

fn filter(text: &str) -> TopicFilter {
    TopicFilter::parse(text).unwrap()
}

/// What bob may see with these scopes.
fn of_bob(scopes: &[&str]) -> (Rights, Own) {
    let scopes: Vec<_> = scopes.iter().map(|scope| Scope::parse(&format!("{scope}:get")).unwrap()).collect();
    Authorize::Scopes.to_see(&Username::parse("bob").unwrap(), &scopes)
}

#[test]
fn a_filter_overlaps_with_rights_that_show_something_of_it() {
    for (scopes, granted, refused) in [
        (
            &["*"][..],
            "# + a a/# a/+ @bob/x @bob/+ @bob/# @alice +/x",
            "@alice/x @alice/+ @alice/# @alice/+/# @alice/x/# @alice/",
        ),
        (&[], "# +/# +/x @bob/x @bob/# @bob/x/# +/+", "a a/# + a/+ @bob @alice/# /# $SYS/#"),
        (
            &["news", "chat/*", "dev/5*"],
            "# + news news/# chat/# chat/+ chat/1 +/1 +/+/x dev/+ dev/5/# dev/+/x dev/55",
            "new new/# chat dev/4 dev/4/# a/+ @alice/chat/1 @alice/+",
        ),
        (&["u/{username}/*"], "u/# u/bob/# u/bob/x u/+/x +/bob/+ +/+/+ #", "u/alice/# u/alice/x u/+ u/bob"),
        (&["$SYS/*"], "$SYS/# $SYS/+ $SYS/x # +/#", "$SYS $x/# +"),
        (&["a+"], "#", "a +"),
    ] {
        let (rights, own) = of_bob(scopes);
        for text in granted.split(' ') {
            assert!(rights.overlaps(&filter(text), &own), "{scopes:?} {text}");
        }
        for text in refused.split(' ') {
            assert!(!rights.overlaps(&filter(text), &own), "{scopes:?} {text}");
        }
    }
}

#[test]
fn rights_cover_a_filter_that_lies_within_them() {
    for (scopes, granted, refused) in [
        (&["*"][..], "# + a/# a/+ @bob/x @bob/+ @bob/#", "@alice/x @alice/# @alice/+/#"),
        (&[], "@bob/x @bob/+ @bob/x/#", "# a +/x @bob @alice/x"),
        (&["news", "chat/*"], "news chat/1 chat/+ chat/+/# chat/1/#", "# + +/1 news/# chat/# chat"),
        (&["chat", "chat/*"], "chat chat/# chat/+", "#"),
        (&["chat*"], "chat chat/# chat/+ chats/x/+/#", "+"),
        (&["u/{username}/*"], "u/bob/+ u/bob/x", "u/+/x u/alice/x u/bob/#"),
    ] {
        let (rights, own) = of_bob(scopes);
        for text in granted.split(' ') {
            assert!(rights.covers(&filter(text), &own), "{scopes:?} {text}");
        }
        for text in refused.split(' ') {
            assert!(!rights.covers(&filter(text), &own), "{scopes:?} {text}");
        }
    }
}

#[test]
fn the_rights_of_a_guest_may_be_topic_filters() {
    let patterns = |texts: &[&str]| Patterns::new(texts.iter().map(|text| filter(text).into()).collect());
    let rights =
        GuestRights { see: patterns(&["dev/+/state", "room/#"]), insert: GuestInsert::Of(patterns(&["dev/+/set"])) };
    let guest = Guest::new(("mqtt", "bob"), TenantName::parse("acme").unwrap(), rights, None);
    let (rights, own) = guest.account().scopes.to_see(Authorize::Open, guest.username());
    for (text, covers, overlaps) in [
        ("dev/+/state", true, true),
        ("dev/5/state", true, true),
        ("room/#", true, true),
        ("room", true, true),
        ("room/+/x", true, true),
        ("dev/+/+", false, true),
        ("dev/#", false, true),
        ("+/5/state", false, true),
        ("#", false, true),
        ("dev/5/set", false, false),
        ("dev/5", false, false),
        ("rooms/#", false, false),
        ("@alice/+", false, false),
        ("@alice/#", false, false),
    ] {
        assert_eq!(rights.covers(&filter(text), &own), covers, "{text}");
        assert_eq!(rights.overlaps(&filter(text), &own), overlaps, "{text}");
    }
    for (name, sees) in [("dev/5/state", true), ("room/a/b", true), ("dev/5/set", false), ("dev/a+/state", false)] {
        assert_eq!(rights.allow(name), sees, "{name}");
    }
    let may_insert = guest.account().scopes.to_insert(Authorize::Open, guest.username());
    let allows = |name: &str| may_insert.allows(&crate::domain::EventName::parse(name).unwrap());
    assert!(allows("dev/5/set") && !allows("dev/5/state") && !allows("dev/+/set"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn what_is_covered_may_be_seen_and_of_what_does_not_overlap_nothing_may(
        scopes in prop::collection::vec("[ab@]{0,2}(/[ab]{1,2}){0,2}[*]?|@[{]username[}][*]?|[{]username[}]/[*]", 0..5),
        filter in "[ab+]?(/[ab+]?){0,3}(/#)?|@(bob|a)/[+b](/#)?|@(bob|a)/#|#",
        names in prop::collection::vec("[ab]?(/[ab]?){0,3}|@(bob|a)(/[ab]){0,2}|bob/[ab]|@bobb", 1..40),
    ) {
        let scopes: Vec<_> = scopes.iter().filter(|scope| !scope.is_empty()).map(String::as_str).collect();
        let (rights, own) = of_bob(&scopes);
        let Some(filter) = TopicFilter::parse(&filter) else { return Ok(()) };
        for name in names.iter().filter(|name| filter.matches(name) && !name.is_empty()) {
            let is_seen = rights.allow(name) || own.allows(name);
            let is_of_others = inbox_owner(name).is_some_and(|owner| owner != "bob");
            prop_assert!(is_seen || is_of_others || !rights.covers(&filter, &own), "{} {}", filter, name);
            // What is not in an inbox does not make its filter one that is granted.
            let is_beside = inbox_owner(filter.as_str()).is_some() && inbox_owner(name).is_none();
            prop_assert!(!is_seen || is_beside || rights.overlaps(&filter, &own), "{} {}", filter, name);
        }
    }
}
