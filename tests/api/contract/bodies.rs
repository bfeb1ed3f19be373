//! Guards request bodies: malformed, too large, of the wrong type, or not UTF-8.

use reqwest::Body;
use serde_json::{Value, json};

use super::bodies;
use crate::support::{ADMIN_TOKEN, Answer, TestServer, within};

/// That a body was refused as such, and that nothing of it came back.
#[track_caller]
fn refused(answer: Answer, what: &str) {
    let answer = answer.refused(400, "body_invalid");
    assert!(answer.error().starts_with("the body is not as expected: "), "{what}: {answer:?}");
    assert!(!answer.body.contains("pw-secret") && !answer.body.contains(ADMIN_TOKEN), "{what}: {answer:?}");
}

#[tokio::test]
async fn malformed_json_is_400_and_not_quoted() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    for (path, body) in bodies() {
        let body = body.to_string();
        let quoted = format!(r#"{{"username":"pw-secret-x","admin_token":"{ADMIN_TOKEN}" "password":"pw-secret-x"}}"#);
        for bad in [
            "",
            "{",
            "nonsense",
            "{\"a\":}",
            &body[..body.len() - 1],
            &format!("{body}x"),
            &body.replace(':', "="),
            &quoted,
        ] {
            refused(alice.post(path, bad).await, &format!("{path} {bad}"));
        }
    }
}

#[tokio::test]
async fn a_missing_field_is_400_and_named() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let optional = |path: &str, field: &str| match path {
        "/login" => field == "totp",
        "/two_factor_end" => ["totp", "recovery_code"].contains(&field),
        "/subscription" => field != "stream",
        "/sign_up" => ["email", "data", "invite"].contains(&field),
        "/delete_me" | "/change_password" => ["totp", "recovery_code", "refresh"].contains(&field),
        "/delete_user" => field == "erase",
        "/logout" | "/end_session" => true,
        "/create_user" => ["email", "data", "scopes", "two_factor"].contains(&field),
        "/update_user" => !["admin_token", "username"].contains(&field),
        _ => false,
    };
    for (path, body) in bodies() {
        for field in body.as_object().unwrap().keys() {
            if optional(path, field) {
                continue;
            }
            let mut body = body.clone();
            body.as_object_mut().unwrap().remove(field);
            let answer = alice.post(path, body.to_string()).await;
            assert!(answer.body.contains(&format!("missing field `{field}`")), "{path} {field}: {answer:?}");
            refused(answer, path);
        }
    }
}

#[tokio::test]
async fn a_required_field_that_is_null_is_400() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    for (path, body) in bodies() {
        for field in ["admin_token", "username", "event", "stream", "issuer"] {
            if body.get(field).is_none() {
                continue;
            }
            let mut body = body.clone();
            body[field] = Value::Null;
            refused(alice.post(path, body.to_string()).await, path);
        }
    }
}

#[tokio::test]
async fn a_field_of_the_wrong_type_is_400_and_not_quoted() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let secret = "pw-secret-wrong";
    for (path, body) in bodies() {
        for field in body.as_object().unwrap().keys() {
            let wrong = match field.as_str() {
                // Any JSON is of the right type.
                "data" => vec![],
                "scopes" => vec![json!(secret), json!([secret, 7]), json!({ secret: secret })],
                "two_factor" => vec![json!(secret), json!(1), json!([true])],
                _ => vec![json!([secret]), json!({ secret: secret }), json!(7), json!(true)],
            };
            for wrong in wrong {
                let mut body = body.clone();
                body[field] = wrong;
                refused(alice.post(path, body.to_string()).await, &format!("{path} {field}"));
            }
        }
    }
}

#[tokio::test]
async fn a_body_that_is_no_object_is_400() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    for (path, _) in bodies() {
        for bad in ["null", "7", "\"pw-secret-x\"", "[]", "true", "[[]]", "[{}]"] {
            refused(alice.post(path, bad).await, &format!("{path} {bad}"));
        }
    }
}

#[tokio::test]
async fn an_array_of_the_values_is_no_body() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    refused(alice.post("/insert", r#"["news",{"a":1}]"#).await, "/insert");
    refused(alice.post("/login", r#"["alice","pw-secret-alice",null]"#).await, "/login");
    refused(alice.post("/password_reset", r#"["alice","pw-secret-alice","123456"]"#).await, "/password_reset");
    refused(alice.post("/list_users", json!([ADMIN_TOKEN]).to_string()).await, "/list_users");
}

#[tokio::test]
async fn text_that_is_not_utf_8_is_400() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    for (path, body) in bodies() {
        for bad in [&b"\xff"[..], b"\xc3\x28", b"\xed\xa0\x80", b"\xf0\x9f\x98"] {
            let mut bytes = body.to_string().into_bytes();
            bytes.truncate(bytes.len() - 1);
            bytes.extend_from_slice(b",\"unknown\":\"pw-secret");
            bytes.extend_from_slice(bad);
            bytes.extend_from_slice(b"\"}");
            refused(alice.post(path, bytes).await, path);
        }
    }
}

#[tokio::test]
async fn unknown_fields_are_ignored_with_any_value() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    for (path, body) in bodies() {
        // A client that has not signed in may send 8 KiB.
        let is_small = ["/login", "/sign_up", "/password_reset", "/refresh", "/logout"].contains(&path);
        let depth = if is_small { 3_000 } else { 10_000 };
        let deep = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let body = body.to_string();
        let body = format!(r#"{{"unknown":{{"username":7}},"":null,"deep":{deep},{}"#, &body[1..]);
        let answer = alice.post(path, body).await;
        let status = match path {
            "/two_factor_confirm" => 401,
            "/two_factor_end" => 409,
            "/sign_up" => 403,
            "/password_reset" | "/refresh" | "/delete_me" => 401,
            "/subscription" | "/end_session" => 404,
            _ => 200,
        };
        assert_eq!(answer.status, status, "{path}: {answer:?}");
    }
}

#[tokio::test]
async fn optional_fields_may_be_null() {
    let server = TestServer::start().await;
    let client = server.client();
    let nothing = json!({ "email": null, "data": null, "scopes": null, "two_factor": null });
    client.create_user_with("alice", "acme", nothing).await.ok();
    let body = json!({ "username": "alice", "password": "pw-secret-alice", "totp": null, "refresh": null });
    client.post("/login", &body).await.ok();
}

#[tokio::test]
async fn a_body_that_announces_itself_as_too_large_is_413() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    for (path, _) in bodies() {
        alice.post(path, " ".repeat(3 << 20)).await.refused(413, "body_too_large");
    }
    for megabytes in [4, 32] {
        alice.post("/login", vec![b' '; megabytes << 20]).await.refused(413, "body_too_large");
    }
}

#[tokio::test]
async fn a_body_that_turns_out_to_be_too_large_is_413() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    for (path, _) in bodies() {
        for chunks in [48, 512] {
            let chunks = (0..chunks).map(|_| Ok::<_, std::io::Error>(vec![b' '; 64 << 10]));
            let body = Body::wrap_stream(futures_util::stream::iter(chunks));
            let request = alice.client.http.post(format!("{}{path}", alice.client.url)).body(body);
            let request = request.header("authorization", &alice.authorization);
            let answer = Answer::of(within("an answer", request.send()).await.unwrap()).await;
            answer.refused(413, "body_too_large");
        }
    }
}

#[tokio::test]
async fn a_large_body_does_not_cost_its_size_in_memory() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let before = server.peak_mebibytes();
    let chunks = (0..2048).map(|_| Ok::<_, std::io::Error>(vec![b' '; 64 << 10]));
    let body = Body::wrap_stream(futures_util::stream::iter(chunks));
    // Whether the answer is still read before the connection ends does not matter here.
    let _ = within("an end", alice.client.http.post(format!("{}/login", server.url)).body(body).send()).await;
    alice.post("/login", vec![b' '; 128 << 20]).await.refused(413, "body_too_large");
    let taken = server.peak_above(before);
    assert!(taken < 32, "{taken} MiB");
}
