//! Guards the addresses of clients behind trusted proxies.

use reqwest::Method;
use serde_json::json;

use crate::support::{Client, TestServer};

/// How many guesses at the admin token an address has at once.
const GUESSES: usize = 100;

/// The status of a guess at the admin token with these headers.
async fn guess(client: &Client, headers: &[(&str, &str)]) -> u16 {
    let body = json!({ "admin_token": "wrong" }).to_string();
    client.request(Method::POST, "/list_users", headers, Some(body.into())).await.status
}

/// Guesses until it is refused, and how often that was answered; at most thrice the allowance.
async fn guess_until_refused(client: &Client, headers: impl Fn(usize) -> Vec<(&'static str, String)>) -> usize {
    for number in 0..3 * GUESSES {
        let headers = headers(number);
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        if guess(client, &headers).await == 429 {
            return number;
        }
    }
    3 * GUESSES
}

#[tokio::test]
async fn behind_a_trusted_proxy_guesses_are_counted_by_the_address_that_it_tells() {
    let server = TestServer::start_with(&["--trusted_proxies=127.0.0.1,10.0.0.0/8"]).await;
    let client = server.client();
    // Whatever the client had written there itself.
    let answered = guess_until_refused(&client, |number| {
        vec![
            ("x-forwarded-for", format!("192.0.2.{}, junk", number % 200)),
            ("x-forwarded-for", "203.0.113.1:4711, 10.1.2.3".to_owned()),
        ]
    });
    let answered = answered.await;
    assert!((GUESSES..2 * GUESSES).contains(&answered), "{answered}");
    // One is won back each second.
    let mut statuses = Vec::new();
    for _ in 0..10 {
        statuses.push(guess(&client, &[("forwarded", "for=203.0.113.1;proto=https")]).await);
    }
    assert!(statuses.contains(&429), "it is the same client: {statuses:?}");
    for headers in [[("x-forwarded-for", "203.0.113.2")], [("forwarded", "for=203.0.113.2")]] {
        assert_eq!(guess(&client, &headers).await, 401);
    }
}

#[tokio::test]
async fn a_client_that_confuses_the_proxy_is_counted_by_the_proxy_and_shuts_out_nobody() {
    let server = TestServer::start_with(&["--trusted_proxies=127.0.0.1"]).await;
    let client = server.client();
    let answered = guess_until_refused(&client, |number| match number % 3 {
        0 => vec![("x-forwarded-for", "203.0.113.1".to_owned()), ("forwarded", format!("for=192.0.2.{number}"))],
        1 => vec![("forwarded", format!("for=192.0.2.{number};x=\", for=203.0.113.1"))],
        _ => vec![("x-forwarded-for", "unknown".to_owned())],
    });
    let answered = answered.await;
    assert!((GUESSES..2 * GUESSES).contains(&answered), "{answered}");
    assert_eq!(guess(&client, &[("x-forwarded-for", "203.0.113.1")]).await, 401);
    // A client on this machine without a proxy is still not counted.
    client.admin("/list_users", json!({})).await.ok();
}

#[tokio::test]
async fn an_address_that_no_trusted_proxy_has_told_counts_nothing() {
    let server = TestServer::start_with(&["--trusted_proxies=10.0.0.0/8,::1"]).await;
    let same = |_| vec![("x-forwarded-for", "203.0.113.1".to_owned()), ("forwarded", "for=203.0.113.1".to_owned())];
    assert_eq!(guess_until_refused(&server.client(), same).await, 3 * GUESSES);
    let log = server.log_up_to_now(&server.client()).await;
    assert!(!log.contains("trusted_proxies"), "{log}");
}

#[tokio::test]
async fn a_proxy_on_this_machine_that_is_not_told_of_is_named_in_the_log_once() {
    let server = TestServer::start().await;
    for _ in 0..3 {
        guess(&server.client(), &[("x-forwarded-for", "203.0.113.1")]).await;
    }
    let log = server.log_up_to_now(&server.client()).await;
    let said: Vec<_> = log.lines().filter(|line| line.contains("trusted_proxies=127.0.0.1")).collect();
    assert!(said.len() == 1 && said[0].contains("WARN"), "{said:?}");
}
