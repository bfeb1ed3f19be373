//! Compares what a page shows with what came, apart from ids, times, tokens and what the page leaves out by `…`.

use serde_json::Value;

/// Whether the output of a block is what the page shows.
pub fn same(shown: &str, got: &str) -> bool {
    let (shown, got) = (normal(shown), normal(got));
    if let (Some(shown), Some(got)) = (all_json(&shown), all_json(&got)) {
        return shown == got;
    }
    let (shown, got) = (compact_if_json(&shown, &got), compact_if_json(&got, &got));
    lines_match(&lines(&shown), &lines(&got))
}

/// How much of what a stream has given is the part that the page shows; `None` if that has not come yet.
pub fn streamed(shown: &str, got: &str) -> Option<usize> {
    let shown = normal(shown);
    let shown = lines(&shown);
    let mut ends = got.match_indices('\n').map(|(at, _)| at + 1);
    // The shortest part that is shown, so that the rest is left for the next block.
    ends.find(|end| lines_match(&shown, &lines(&normal(&got[..*end]))))
}

/// The lines that count, without blanks at their ends, empty lines, heartbeats, and when to come back.
fn lines(text: &str) -> Vec<&str> {
    let counts = |line: &&str| !line.is_empty() && *line != ":" && !line.starts_with("retry:");
    text.lines().map(str::trim_end).filter(counts).collect()
}

/// Replaces everything that differs from run to run: ids (22 digits), times (13 digits), ids of streams (16 hexadecimal digits), tokens.
fn normal(text: &str) -> String {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut normal = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let word = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        if word == 0 {
            normal.push(first);
            rest = &rest[first.len_utf8()..];
        } else if rest.starts_with("eyJ") {
            normal.push_str("eyJ");
            rest = rest.trim_start_matches(|c| is_word(c) || matches!(c, '-' | '.' | '…'));
        } else {
            normal.push_str(&normal_word(&rest[..word]));
            rest = &rest[word..];
        }
    }
    normal
}

fn normal_word(word: &str) -> String {
    let is_number = word.bytes().all(|byte| byte.is_ascii_digit());
    let is_hexadecimal = word.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    match word.len() {
        22 if is_number => "0".repeat(22),
        13 if is_number => "1".repeat(13),
        16 if is_hexadecimal => "f".repeat(16),
        _ => word.to_owned(),
    }
}

/// The JSON values of a text that has nothing else.
fn all_json(text: &str) -> Option<Vec<Value>> {
    let values = serde_json::Deserializer::from_str(text).into_iter().collect::<Result<Vec<_>, _>>().ok()?;
    (!values.is_empty()).then_some(values)
}

/// The text without blanks outside of its strings, if what came is JSON: a page may lay it out.
fn compact_if_json(text: &str, got: &str) -> String {
    if all_json(got).is_none() {
        return text.to_owned();
    }
    let (mut compact, mut in_string, mut is_escaped) = (String::new(), false, false);
    for c in text.chars() {
        if in_string || !c.is_whitespace() {
            compact.push(c);
        }
        in_string ^= c == '"' && !is_escaped;
        is_escaped = in_string && c == '\\' && !is_escaped;
    }
    compact
}

/// Whether lines are those that are shown; a line `…` stands for any number of them.
fn lines_match(shown: &[&str], got: &[&str]) -> bool {
    match shown {
        [] => got.is_empty(),
        [first, rest @ ..] if first.trim() == "…" => {
            (0..=got.len()).any(|skipped| lines_match(rest, &got[skipped..]))
        }
        [first, rest @ ..] => got.first().is_some_and(|line| line_matches(first, line)) && lines_match(rest, &got[1..]),
    }
}

/// Whether a line is the one that is shown; `…` stands for any part of it.
fn line_matches(shown: &str, got: &str) -> bool {
    match shown.split_once('…') {
        None => shown == got,
        Some((before, after)) => got.strip_prefix(before).is_some_and(|rest| {
            let ends = rest.char_indices().map(|(at, _)| at).chain([rest.len()]);
            ends.into_iter().any(|at| line_matches(after, &rest[at..]))
        }),
    }
}

#[test]
fn only_what_differs_from_run_to_run_may_differ() {
    let same_and_not = [
        ("{\"a\": 1, \"b\":\n 2}", "{\"b\":2,\"a\":1}", "{\"b\":2,\"a\":2}"),
        ("{\"id\":\"0000000000000001478353\"}", "{\"id\":\"0000000000000009999999\"}", "{\"id\":\"1\"}"),
        ("{\"timestamp\":1795327182436}", "{\"timestamp\":1790000000000}", "{\"timestamp\":0}"),
        ("{\"id\": …, \"n\": 1}", "{\"id\":12,\"n\":1}", "{\"id\":12,\"n\":2}"),
        ("eyJ0eXAi…", "eyJhbGci.eyJ_-x.y", "unauthorized"),
        ("broker-stream: 0123456789abcdef", "broker-stream: ffffffffffffffff", "broker-stream: f"),
        ("first\n…\nlast", "first\nsecond\nthird\nlast\n", "first\nlast\nmore"),
        ("one\ntwo", "one  \n\ntwo\n", "one\ntwo\nthree"),
        ("[]\n1", "[]\n1", "[]"),
    ];
    for (shown, got, other) in same_and_not {
        assert!(same(shown, got), "{shown:?} {got:?}");
        assert!(!same(shown, other), "{shown:?} {other:?}");
    }
}

#[test]
fn a_stream_shows_what_comes_next_and_keeps_the_rest() {
    let got = ":\nevent:a\ndata:1\n\n:\nevent:b\ndata:2\n\n";
    let first = streamed("event:a\ndata:1\n", got).unwrap();
    assert_eq!(&got[..first], ":\nevent:a\ndata:1\n");
    assert_eq!(streamed("event:b\ndata:…\n\n", &got[first..]), Some(got.len() - 1 - first));
    assert_eq!(streamed("event:b\ndata:2\n", got), None);
    assert_eq!(streamed("event:a\ndata:1\n", "event:a\ndata:1"), None);
}
