//! Guards the rate limits for wrong guesses.

use std::net::IpAddr;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use reqwest::Method;
use serde_json::json;
use tokio::time::timeout;

use super::{begin_sign_in, by_password, reset, visits, with_two_factor};
use crate::support::{
    Answer, Client, PATIENCE, TestServer, cannot_run, eventually, in_time, password_of, until_throttled, within,
};

/// How many failures an account may have at once.
const FAILURES: usize = 20;

async fn guess(client: &Client, username: &str) -> Answer {
    client.login(username, "wrong").await
}

#[track_caller]
fn throttled(answer: Answer) {
    let answer = answer.refused(429, "too_many_attempts");
    let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=600).contains(&seconds), "{answer:?}");
}

#[tokio::test]
async fn after_twenty_failures_an_account_must_wait() {
    let server = TestServer::start().await;
    let client = server.client();
    client.create_user("alice", "acme").await;
    for _ in 0..FAILURES {
        guess(&client, "alice").await.refused(401, "unauthorized");
    }
    throttled(until_throttled(async || guess(&client, "alice").await).await);
    throttled(client.login("alice", &password_of("alice")).await);
    throttled(by_password(&client, "alice", &password_of("alice")).verify().await);
}

#[tokio::test]
async fn guesses_side_by_side_are_no_more_than_one_after_the_other() {
    let server = TestServer::start().await;
    let client = server.client();
    client.create_user("alice", "acme").await;
    let answers = join_all((0..80).map(|_| guess(&client, "alice"))).await;
    let answered = answers.iter().filter(|answer| answer.status == 401).count();
    // One or two may have been won back meanwhile.
    assert!((FAILURES..=FAILURES + 2).contains(&answered), "{answered}");
    answers.into_iter().filter(|answer| answer.status != 401).for_each(throttled);
}

#[tokio::test]
async fn failures_at_every_door_count_together() {
    let server = TestServer::start().await;
    let client = server.client();
    with_two_factor(&client, "alice").await;
    for _ in 0..FAILURES / 4 {
        guess(&client, "alice").await.refused(401, "unauthorized");
        by_password(&client, "alice", "wrong").verify().await.refused(401, "unauthorized");
        // The password is right, and gives nothing away but that.
        client.login("alice", &password_of("alice")).await.refused(401, "totp_required");
        reset(&client, "alice", &password_of("new"), "nonsense").await.refused(401, "unauthorized");
    }
    until_throttled(async || guess(&client, "alice").await).await;
    throttled(by_password(&client, "alice", "wrong").verify().await);
    throttled(reset(&client, "alice", &password_of("new"), "nonsense").await);
}

#[tokio::test]
async fn another_account_and_tokens_in_use_are_not_touched() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    server.client().create_user("bob", "acme").await;
    for _ in 0..FAILURES {
        guess(&alice.client, "alice").await.refused(401, "unauthorized");
    }
    until_throttled(async || guess(&alice.client, "alice").await).await;
    assert_eq!(alice.doors().await, [200; 3]);
    server.client().sign_in("bob").await;
    guess(&alice.client, "bob").await.refused(401, "unauthorized");
}

#[tokio::test]
async fn a_name_that_nobody_has_is_throttled_as_any_other() {
    let server = TestServer::start().await;
    for _ in 0..FAILURES {
        guess(&server.client(), "nobody").await.refused(401, "unauthorized");
    }
    until_throttled(async || guess(&server.client(), "nobody").await).await;
}

#[tokio::test]
async fn successes_do_not_count() {
    let server = TestServer::start().await;
    let client = server.client();
    client.create_user("alice", "acme").await;
    for _ in 0..FAILURES + 10 {
        client.sign_in("alice").await;
    }
    for _ in 0..FAILURES {
        guess(&client, "alice").await.refused(401, "unauthorized");
    }
    until_throttled(async || guess(&client, "alice").await).await;
}

#[tokio::test]
async fn sign_ins_side_by_side_with_the_right_password_all_succeed() {
    let server = TestServer::start().await;
    let client = server.client();
    client.create_user("alice", "acme").await;
    let answers = join_all((0..50).map(|_| client.login("alice", "pw-secret-alice"))).await;
    let statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [200; 50]);
}

#[tokio::test]
async fn a_refusal_that_made_no_guess_does_not_count() {
    let server = TestServer::start().await;
    let client = server.client();
    client.create_user("alice", "acme").await;
    for _ in 0..FAILURES + 10 {
        client.post("/login", &json!({ "username": "alice" })).await.refused(400, "body_invalid");
        reset(&client, "alice", "", "nonsense").await.refused(400, "password_invalid");
    }
    client.login("alice", &password_of("alice")).await.ok();
}

/// Guesses at the admin token until something else than 401 comes, or there were so many; how many were answered.
async fn guess_admin_token(client: &Client, most: usize) -> (usize, Option<Answer>) {
    for answered in 0..most {
        let answer = client.post("/list_users", &json!({ "admin_token": "wrong" })).await;
        if answer.status != 401 {
            return (answered, Some(answer));
        }
    }
    (most, None)
}

#[tokio::test]
async fn guesses_at_the_admin_token_from_elsewhere_are_throttled() {
    // The address by which others know this machine: nothing is sent to find it out.
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    let Ok(address) = socket.connect("192.0.2.1:9").and_then(|()| socket.local_addr()) else {
        return cannot_run("this machine has no address but its own, so nobody comes from elsewhere");
    };
    let server = TestServer::start_with(&["--host=0.0.0.0"]).await;
    let port = server.url.rsplit_once(':').unwrap().1;
    let client = Client::new(&format!("http://{}:{port}", address.ip()));
    let (answered, refused) = guess_admin_token(&client, 1000).await;
    throttled(refused.expect("a thousand tokens were tried"));
    assert!(answered >= 20, "only {answered}: a person may mistype");
    server.client().admin("/list_users", json!({})).await.ok();
}

#[tokio::test]
async fn guesses_from_this_machine_do_not_shut_out_other_clients_of_its_proxy() {
    let server = TestServer::start().await;
    let client = server.client();
    let (_, refused) = guess_admin_token(&client, 300).await;
    assert!(refused.is_none(), "{refused:?}");
    client.admin("/list_users", json!({})).await.ok();
}

/// Keeps a server busy with hashing for as long as it is awaited.
async fn flood(client: &Client) {
    let guesses = |worker: usize| async move {
        for n in 0.. {
            // Each time another name, so that none of them has to wait.
            if guess(client, &format!("user{worker}-{n}")).await.status == 503 {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    };
    join_all((0..200).map(guesses)).await;
}

#[tokio::test]
async fn more_sign_ins_than_can_be_hashed_are_503_and_the_rest_is_served() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let names: Vec<_> = (0..300).map(|n| format!("user{n}")).collect();
    let mut guesses: FuturesUnordered<_> = names.iter().map(|name| guess(&alice.client, name)).collect();
    let turned_away = loop {
        let answer = guesses.next().await.expect("one of them is turned away");
        if answer.status != 401 {
            break answer.refused(503, "overloaded");
        }
    };
    assert!(turned_away.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    // While the others still wait.
    assert_eq!(alice.doors().await, [200; 3]);
}

/// A client with an address of this machine.
fn from(server: &TestServer, ip: [u8; 4]) -> Client {
    Client::with(reqwest::Client::builder().local_address(IpAddr::from(ip)), &server.url)
}

#[tokio::test]
async fn guesses_at_many_names_from_one_address_keep_out_nobody_from_another() {
    let server = TestServer::start().await;
    let client = server.client();
    client.create_user("alice", "acme").await;
    let elsewhere = from(&server, [127, 0, 0, 2]);
    let sign_ins = async {
        // The flood has filled the queue.
        within("the flood to be turned away", async { while guess(&elsewhere, "nobody").await.status != 503 {} }).await;
        for _ in 0..10 {
            client.sign_in("alice").await;
        }
        // An admin, too.
        client.create_user("bob", "acme").await;
    };
    tokio::select! {
        () = flood(&elsewhere) => unreachable!(),
        () = sign_ins => {}
    }
}

#[tokio::test]
async fn a_crowd_that_signs_in_to_one_account_waits_in_part_and_is_turned_away_for_the_rest() {
    let server = TestServer::start().await;
    let client = server.client();
    client.create_user("alice", "acme").await;
    let answers = join_all((0..300).map(|_| client.login("alice", "pw-secret-alice"))).await;
    let let_in = answers.iter().filter(|answer| answer.status == 200).count();
    assert!((50..300).contains(&let_in), "{let_in}");
    for answer in answers.into_iter().filter(|answer| answer.status != 200) {
        answer.refused(503, "overloaded");
    }
    client.sign_in("alice").await;
}

#[tokio::test]
async fn a_server_with_too_much_to_hash_does_not_hold_it_against_the_user() {
    let server = TestServer::start().await;
    let client = server.client();
    client.create_user("alice", "acme").await;
    // As a client would that tries again at once.
    // One after the other, and each may wait long for its turn: together longer than anything else.
    let turned_away = timeout(5 * PATIENCE, async {
        let mut turned_away = 0;
        while turned_away < FAILURES + 5 {
            match client.login("alice", &password_of("alice")).await.status {
                200 => {}
                503 => turned_away += 1,
                status => panic!("{status} after having been turned away {turned_away} times"),
            }
        }
    });
    tokio::select! {
        () = flood(&client) => unreachable!(),
        turned_away = turned_away => turned_away.unwrap(),
    }
    within("the server to have time", async {
        while client.login("alice", &password_of("alice")).await.status == 503 {}
    })
    .await;
    client.sign_in("alice").await;
}

#[tokio::test]
async fn an_account_is_throttled_even_if_the_request_claims_another_address() {
    let server = TestServer::start().await;
    let mut statuses = Vec::new();
    for n in 0..25 {
        let address = format!("203.0.113.{n}");
        let headers =
            [("x-forwarded-for", address.as_str()), ("forwarded", &format!("for={address}")), ("x-real-ip", &address)];
        let body = json!({ "username": "alice", "password": "wrong" }).to_string();
        statuses.push(server.client().request(Method::POST, "/login", &headers, Some(body.into())).await.status);
    }
    assert_eq!(statuses[24], 429, "{statuses:?}");
}

#[tokio::test]
async fn a_right_password_is_no_wrong_guess_because_the_client_hangs_up() {
    in_time("most clients to hang up", hanging_up_is_no_guess).await;
}

/// Nothing where too many sign-ins were answered before their clients went.
async fn hanging_up_is_no_guess() -> Option<()> {
    let server = TestServer::start().await;
    let client = server.client();
    client.create_user("alice", "acme").await;
    // As many as may wait to be hashed: most of them still do when their clients go.
    let password = password_of("alice");
    let connections = join_all((0..2 * FAILURES).map(|_| begin_sign_in(&server, "alice", &password))).await;
    // Meanwhile the server has come round to them, on whichever of its threads they are.
    for _ in 0..3 {
        client.get("/").await.ok();
    }
    drop(connections);
    eventually("the server to see that they went", || visits(&server).iter().any(|visit| visit[2] == "gone")).await;
    client.sign_in("alice").await;
    // A hang-up leaves no line of a request.
    let answered = server.log_up_to_now(&client).await.matches(r#""path":"/login""#).count();
    (answered <= FAILURES).then_some(())
}
