//! Guards files of which the end is missing: their last line is told, and the whole file goes on under the same name.

use std::process::Stdio;

use serde_json::{Value, json};

use super::{body, by_command, event, history, import, outcome, summary, user};
use crate::support::{ADMIN_TOKEN, TestServer};

#[tokio::test]
async fn a_file_that_ends_in_the_middle_of_a_line_fails_with_its_number_and_goes_on_when_it_is_whole() {
    let server = TestServer::start().await;
    let client = server.client();
    let scratch = tempfile::tempdir().unwrap();
    let (token, file) = (scratch.path().join("token"), scratch.path().join("all.ndjson"));
    std::fs::write(&token, ADMIN_TOKEN).unwrap();
    let run = || by_command(&server, &token, &[file.to_str().unwrap()], Stdio::null());
    let whole = body(&[user("alice", json!({})), event("a", 1), event("b", "größer"), event("c", 3)]);
    let third = whole.match_indices('\n').nth(1).unwrap().0 + 1;
    // In the middle of the line, and of a letter.
    for end in [third + 9, third + whole[third..].find('ö').unwrap() + 1] {
        std::fs::write(&file, &whole.as_bytes()[..end]).unwrap();
        let cut = run();
        assert_eq!(cut.status.code(), Some(1), "{cut:?}");
        let line: Value = serde_json::from_slice(&cut.stdout).unwrap();
        assert_eq!(line, json!({ "line": 3, "code": "body_invalid", "error": line["error"] }));
        assert!(String::from_utf8_lossy(&cut.stderr).contains("not all lines were read"), "{cut:?}");
        assert_eq!(history(&client, "acme").await.len(), 1);
    }
    std::fs::write(&file, &whole).unwrap();
    for _ in 0..2 {
        let done = run();
        assert!(done.status.success() && done.stdout.is_empty(), "{done:?}");
        let names: Vec<_> = history(&client, "acme").await.into_iter().map(|(name, ..)| name).collect();
        assert_eq!(names, ["a", "b", "c"]);
    }
}

#[tokio::test]
async fn only_json_that_ends_too_early_is_cut_off_and_it_takes_no_lines_back() {
    let server = TestServer::start().await;
    let client = server.client();
    // What is wrong will not be right if more of it comes, and blanks are nothing.
    let wrong = body(&[event("a", 1)]) + "wrong";
    assert_eq!(
        outcome(import(&client, "wrong", wrong).await),
        (vec![(2, "body_invalid".to_owned())], summary(2, 1, 1))
    );
    assert_eq!(outcome(import(&client, "blank", body(&[event("b", 1)]) + "  ").await), (vec![], summary(2, 1, 0)));
    let whole = body(&[event("c", 1), event("d", 1)]);
    assert_eq!(outcome(import(&client, "whole", whole.clone()).await), (vec![], summary(2, 2, 0)));
    import(&client, "whole", whole[..whole.len() - 5].to_owned()).await.refused(422, "idempotency_key_reused");
    let more = whole + "{";
    let (refused, last) = outcome(import(&client, "whole", more).await);
    assert_eq!(refused, [(3, "body_invalid".to_owned())]);
    assert_eq!(last, json!({ "lines": 2, "imported": 2, "refused": 1, "complete": false }));
}

#[tokio::test]
async fn the_last_line_of_an_export_is_passed_over() {
    let server = TestServer::start().await;
    let client = server.client();
    server.user("alice", "acme").await.insert("a", json!(1)).await;
    let export = client.admin("/export", json!({ "events": "latest", "end": true })).await.ok().body;
    assert_eq!(outcome(import(&client, "own", export).await), (vec![], summary(2, 1, 0)));
}
