//! Guards `kill -9` at any moment, also while opening: everything acknowledged is there afterwards.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{ADMIN_TOKEN, Client, Event, TestServer, User, command, eventually, within};

const ROUNDS: u64 = 60;
const WRITERS: u64 = 6;

/// What the server has answered 200 to, over all of its lives.
#[derive(Default)]
struct Promised {
    /// Event name to id.
    events: HashMap<String, String>,
    /// The same of transient events.
    transient: HashMap<String, String>,
    /// Username to the `data` of the last update.
    users: HashMap<String, u64>,
    /// The id of the last insert that was answered.
    highest: String,
}

#[tokio::test]
async fn everything_acknowledged_survives_kills_at_random_moments() {
    let promised = Arc::new(Mutex::new(Promised::default()));
    // A subscriber that outlives the server: it resumes after what it last saw, over and over.
    let seen = Arc::new(Mutex::new(Vec::<Event>::new()));
    // So short a journal that kills meet checkpoints too.
    let mut server = TestServer::start_with(&["--journal_bytes=65536", "--max_event_bytes=1048576"]).await;
    server.client().create_user("reader", "acme").await;
    server.client().create_user("writer", "acme").await;
    // From here on it is told of transient events too.
    let first = server.client().sign_in("writer").await.insert("first", json!(null)).await;
    seen.lock().unwrap().push(Event::new("first", &first, "null"));

    for round in 0..ROUNDS {
        // Half of the rounds kill the program while it opens its database, from 1 ms on.
        if round % 2 == 1 {
            server.kill();
            for attempt in 0..3 {
                let mut child = command(&[], server.directory()).spawn().unwrap();
                tokio::time::sleep(Duration::from_millis(1 + (round * 7 + attempt * 13) % 40)).await;
                child.kill().unwrap();
                child.wait().unwrap();
            }
            server = server.restart().await;
        }

        check(&server, &promised, round).await;
        let stop = Arc::new(AtomicBool::new(false));
        let reading = tokio::spawn(resume(server.client().sign_in("reader").await, Arc::clone(&seen)));
        let writer = server.client().sign_in("writer").await;
        let writers: Vec<_> = (0..WRITERS)
            .map(|number| tokio::spawn(write(writer.clone(), round, number, Arc::clone(&promised), Arc::clone(&stop))))
            .collect();
        let admin = tokio::spawn(change_users(server.client(), round, Arc::clone(&promised)));

        // After none to some dozens of answers, and a moment; what counts is that no two rounds are alike.
        let enough = answers(&promised) + round * 37 % 50;
        eventually("answers", || answers(&promised) >= enough).await;
        tokio::time::sleep(Duration::from_millis(round * 7 % 30)).await;
        server.kill();
        stop.store(true, Ordering::Relaxed);
        for task in writers.into_iter().chain([admin]) {
            within("a writer to notice", task).await.unwrap();
        }
        within("the reader to notice", reading).await.unwrap();
        server = server.restart().await;
    }

    check(&server, &promised, ROUNDS).await;
    // The reader catches up one last time, and has then seen every acknowledged event, in order and without a repeat.
    let reader = server.client().sign_in("reader").await;
    let mark = reader.insert("end", json!(null)).await;
    let after = seen.lock().unwrap().last().map(|event| event.id.clone());
    let mut stream = reader.stream_of("/sse", after.as_deref()).await;
    loop {
        let event = stream.next().await;
        let is_mark = event.id == mark;
        seen.lock().unwrap().push(event);
        if is_mark {
            break;
        }
    }
    let seen = seen.lock().unwrap();
    assert!(seen.windows(2).all(|pair| pair[0].id < pair[1].id), "an id came twice or went back");
    let by_id: HashMap<_, _> = seen.iter().map(|event| (&event.id, &event.name)).collect();
    let promised = promised.lock().unwrap();
    for (name, id) in promised.events.iter().chain(&promised.transient) {
        assert_eq!(by_id.get(id), Some(&name), "the resumed stream missed an acknowledged event");
    }
    let (events, transient, users) = (promised.events.len(), promised.transient.len(), promised.users.len());
    assert!(
        events + transient > 100 && transient > 10 && users > 10,
        "next to nothing to lose: {events}, {transient}, {users}"
    );
}

/// How many inserts were acknowledged so far.
fn answers(promised: &Mutex<Promised>) -> u64 {
    promised.lock().unwrap().events.len() as u64
}

/// Everything promised is there, and what comes now has a higher id than all before.
async fn check(server: &TestServer, promised: &Mutex<Promised>, round: u64) {
    let writer = server.client().sign_in("writer").await;
    let held = writer.everything().await;
    let next = writer.insert(&format!("check{round}"), json!(round)).await;
    let (users, highest) = {
        let mut promised = promised.lock().unwrap();
        for (name, id) in &promised.events {
            let held = held.get(name).unwrap_or_else(|| panic!("round {round}: {name} ({id}) is lost"));
            assert_eq!(&held.id, id, "{name}");
            if let Some((_, number)) = name.rsplit_once('/') {
                let data = "x".repeat(size_of(number.parse().unwrap()));
                assert!(held.data == format!("\"{data}\""), "{name} is not whole");
            }
        }
        assert!(!promised.transient.keys().any(|name| held.contains_key(name)), "a transient event is the latest");
        let highest = std::mem::replace(&mut promised.highest, next.clone());
        promised.events.insert(format!("check{round}"), next.clone());
        (promised.users.clone(), highest)
    };
    assert!(next > highest, "round {round}: after {highest} came {next}");
    let listed = server.client().admin("/list_users", json!({})).await.ok().json();
    let listed: HashMap<_, _> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|user| (user["username"].as_str().unwrap().to_owned(), user["data"].as_u64()))
        .collect();
    for (user, data) in users {
        // The next update may be on disk already, though nobody was told yet.
        assert!(listed[&user] >= Some(data), "round {round}: the change of {user} is lost");
    }
}

/// How large a writer's so many-th event is: mostly small; now and then as large as a row can be, or so large that it takes several.
fn size_of(number: u64) -> usize {
    match number % 46 {
        22 => 90_000,
        45 => 250_000,
        _ => 150,
    }
}

async fn write(user: User, round: u64, writer: u64, promised: Arc<Mutex<Promised>>, stop: Arc<AtomicBool>) {
    for number in 0_u64.. {
        let name = format!("{round}/{writer}/{number}");
        let transient = number % 4 == 3;
        let body = json!({ "event": name, "data": "x".repeat(size_of(number)), "transient": transient });
        let Some(answer) = post_until_gone(&user.client, "/insert", &user.authorization, &body).await else { return };
        let id = answer["id"].as_str().unwrap().to_owned();
        let mut promised = promised.lock().unwrap();
        promised.highest = std::mem::take(&mut promised.highest).max(id.clone());
        if transient {
            promised.transient.insert(name, id)
        } else {
            promised.events.insert(name, id)
        };
        if stop.load(Ordering::Relaxed) {
            return;
        }
    }
}

async fn change_users(client: Client, round: u64, promised: Arc<Mutex<Promised>>) {
    let username = format!("user{round}");
    let new = json!({ "username": username, "password": "pw-secret-x", "tenant_name": "acme", "data": 0,
        "admin_token": ADMIN_TOKEN });
    let Some(_) = post_until_gone(&client, "/create_user", "", &new).await else { return };
    for data in 0_u64.. {
        promised.lock().unwrap().users.insert(username.clone(), data);
        let patch = json!({ "username": username, "data": data + 1, "admin_token": ADMIN_TOKEN });
        let Some(_) = post_until_gone(&client, "/update_user", "", &patch).await else { return };
    }
}

/// Posts, and gives the body of a 200; `None` once the server is gone.
async fn post_until_gone(client: &Client, path: &str, authorization: &str, body: &Value) -> Option<Value> {
    let answer = client.post_if_there(path, authorization, &[], body.to_string().into_bytes()).await?.ok();
    Some(serde_json::from_str(&answer.body).unwrap_or(Value::Null))
}

/// Reads on after the last event that was seen, until the server dies.
async fn resume(user: User, seen: Arc<Mutex<Vec<Event>>>) {
    let after = seen.lock().unwrap().last().map(|event| event.id.clone());
    let request = user.client.http.get(format!("{}/sse", user.client.url)).header("authorization", &user.authorization);
    let request = match &after {
        Some(id) => request.header("last-event-id", id),
        None => request,
    };
    let Ok(response) = request.send().await else { return };
    let mut stream = crate::support::Stream::open(response).await.cut_off_allowed();
    while let Some(event) = stream.read().await {
        seen.lock().unwrap().push(event);
    }
}
