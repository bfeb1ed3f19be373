//! Guards the form of changes: all that may be decided elsewhere have one, and none changes unnoticed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::*;
use crate::clock::Clock;
use crate::store::{Durable, Store};
use crate::writer::Rules;

/// A change, its answer and, of some, a refusal, each as the first release with such a form wrote it: name, kind and bytes. A line is
/// never altered, since the release before reads and writes it; a change that gets another field has a line more.
const GOLDEN: &str = include_str!("golden.txt");

/// Changes that are about the process that decides them.
const HERE: [&str; 15] = [
    "AfterAll",
    "EndLost",
    "EraseEvents",
    "FinishErasure",
    "Forget",
    "Forget",
    "FreeNames",
    "LookAfter",
    "Ping",
    "Queue",
    "RemoveBound",
    "RemoveExpired",
    "RemoveLeft",
    "Shorten",
    "Stop",
];

fn forms() -> impl Iterator<Item = &'static Form> {
    ALL.iter().flat_map(|forms| forms.iter())
}

fn bytes(hexadecimal: &str) -> Vec<u8> {
    let digits = hexadecimal.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    digits.map(|digits| u8::from_str_radix(digits, 16).unwrap()).collect()
}

fn golden(kind: &str) -> impl Iterator<Item = (&'static str, Vec<u8>)> {
    let lines = GOLDEN.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    lines.filter(move |parts| parts[1] == kind).map(|parts| (parts[0], bytes(parts[2])))
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let below = |path: PathBuf| if path.is_dir() { sources(&path) } else { vec![path] };
    paths.flat_map(below).filter(|path| !path.to_string_lossy().contains("tests")).collect()
}

#[test]
fn every_change_is_in_the_table_or_says_that_it_is_decided_where_it_is_made() {
    let (mut anywhere, mut here) = (0, Vec::new());
    for source in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        let text = std::fs::read_to_string(&source).unwrap();
        // What a file has for its own tests does not count.
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        for change in code.split("impl Change for ").skip(1) {
            let name = change.split(' ').next().unwrap();
            match change.split("type Reach = ").nth(1).unwrap().split(';').next().unwrap() {
                "Anywhere" => anywhere += 1,
                "Here" => here.push(name.to_owned()),
                other => panic!("{name} is decided {other}"),
            }
        }
    }
    here.sort();
    assert_eq!(here, HERE);
    let names: BTreeSet<_> = forms().map(|form| form.name).collect();
    assert_eq!((names.len(), forms().count()), (anywhere, anywhere), "{names:?}");
}

#[test]
fn the_form_of_no_change_and_of_no_answer_is_another_than_it_was() {
    for form in forms() {
        for (kind, again) in [("change", form.again), ("answer", form.again_answer), ("refusal", form.again_answer)] {
            let known: Vec<_> = golden(kind).filter(|(name, _)| *name == form.name).collect();
            assert!(kind == "refusal" || !known.is_empty(), "{} has no {kind}", form.name);
            for (name, bytes) in known {
                assert_eq!(again(&bytes).as_ref(), Ok(&bytes), "{name} {kind}");
            }
        }
    }
}

#[tokio::test]
async fn a_change_that_came_as_bytes_is_decided_and_answered_with_bytes() {
    let directory = tempfile::tempdir().unwrap();
    let (store, committer) = Store::open(directory.path(), 64 << 20).unwrap();
    let publish = |committed: Durable| drop(committed.reveal());
    let (writer, _failure) = Writer::start(committer, Clock::from_local(), Rules::example(), publish).unwrap();
    let (mut changes, mut answers) = (golden("change"), golden("answer"));
    let change = changes.find(|(name, _)| *name == "lineage_begin").unwrap().1;
    let answer = answers.find(|(name, _)| *name == "lineage_begin").unwrap().1;
    assert_eq!(post(&writer, &change).unwrap().await, Ok(answer));
    assert!(store.setting(crate::store::LINEAGE_SETTING).unwrap().is_some());
    // A refusal is an answer like others.
    let unknown = golden("change").find(|(name, _)| *name == "user_delete").unwrap().1;
    let refused = post(&writer, &unknown).unwrap().await.unwrap();
    assert_eq!(writer::decode_answer::<()>(&refused), Ok(Err(Error::UserUnknown)));
    let followed = [&change[..], &[0xc0]].concat();
    for wrong in [&b""[..], &[2], &change[..change.len() - 1], &followed, &[1, 0xa1, b'?', 0xc0]] {
        assert!(matches!(post(&writer, wrong), Err(Error::Internal(_))), "{wrong:?}");
    }
}
