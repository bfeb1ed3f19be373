//! Changes to what a stream or a user sees, and what is seen then.

use serde_json::{Value, json};

use super::{Answer, Client, Event, TestServer, User, until};

/// Asks for another filter of a stream.
pub async fn subscribe(user: &User, stream: &str, mut filter: Value) -> Answer {
    filter["stream"] = json!(stream);
    user.post("/subscription", &filter).await
}

/// Gives a stream another filter, and tells the number of this change.
pub async fn change(user: &User, stream: &str, filter: Value) -> u64 {
    let answer = subscribe(user, stream, filter).await.ok().json();
    assert_eq!(answer.as_object().unwrap().len(), 1, "{answer}");
    answer["change"].as_u64().unwrap()
}

/// Awaits that a stream of which the connection was closed is no more.
pub async fn until_gone(user: &User, stream: &str) {
    let is_gone = async || (subscribe(user, stream, json!({})).await.status == 404).then_some(());
    until("the end of the stream", is_gone).await;
}

/// Ids and names of events, in their order.
pub fn pairs<'a>(events: impl IntoIterator<Item = &'a Event>) -> Vec<(String, String)> {
    events.into_iter().map(|event| (event.id.clone(), event.name.clone())).collect()
}

/// Inserts an event of each of these names, and gives their ids and names in order.
pub async fn insert_names(user: &User, names: &[String], data: &str) -> Vec<(String, String)> {
    let mut inserted = Vec::new();
    for names in names.chunks(100) {
        let array = Value::Array(names.iter().map(|name| json!({ "event": name, "data": data })).collect());
        let given = user.insert_raw(array.to_string()).await.ok().json();
        let ids = given.as_array().unwrap().iter().map(|each| text(&each["id"]));
        inserted.extend(ids.zip(names.iter().cloned()));
    }
    inserted
}

/// Inserts more than the sockets' buffers take, of `big/0` to `big/9` in turn; ids and names in order. In few requests, because a
/// reader that stalls meanwhile is given up after half a minute.
pub async fn insert_big(user: &User) -> Vec<(String, String)> {
    let names: Vec<_> = (0..120).map(|number| format!("big/{}", number % 10)).collect();
    insert_large(user, &names, 100_000).await
}

/// The same with these names, and so many bytes in each event.
pub async fn insert_large(user: &User, names: &[String], bytes: usize) -> Vec<(String, String)> {
    let data = "x".repeat(bytes);
    let mut inserted = Vec::new();
    // Far less than a body may have.
    for names in names.chunks((1 << 20) / bytes) {
        inserted.extend(insert_names(user, names, &data).await);
    }
    inserted
}

pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

/// The names that `/events` tells, by id and without the markers.
pub async fn listed(user: &User, query: &str) -> Vec<String> {
    let events = user.get(&format!("/events?{query}")).await.ok().json();
    let mut listed: Vec<_> =
        events.as_array().unwrap().iter().map(|event| (text(&event["id"]), text(&event["event"]))).collect();
    listed.sort();
    listed.into_iter().map(|(_, name)| name).filter(|name| name != "mark").collect()
}

/// The ids that `/history` tells of a name, the newest first.
pub async fn kept(user: &User, event: &str) -> Vec<String> {
    let page = user.get(&format!("/history?event={event}&limit=1000")).await.ok().json();
    assert_eq!(page["next"], json!(null), "{page}");
    page["events"].as_array().unwrap().iter().map(|event| text(&event["id"])).collect()
}

/// Makes a user of the tenant `acme` with these scopes, and signs in.
pub async fn user_with(server: &TestServer, username: &str, scopes: &[&str]) -> User {
    let client = server.client();
    client.create_user_with(username, "acme", json!({ "scopes": scopes })).await.ok();
    client.sign_in(username).await
}

pub async fn set_scopes(client: &Client, username: &str, scopes: &[&str]) {
    client.admin("/update_user", json!({ "username": username, "scopes": scopes })).await.ok();
}

/// Moves somebody to another tenant.
pub async fn move_to(client: &Client, username: &str, tenant: &str) {
    client.admin("/update_user", json!({ "username": username, "tenant_name": tenant })).await.ok();
}

/// That it is refused for want of this scope.
#[track_caller]
pub fn missing(answer: &Answer, scope: &str) {
    assert_eq!((answer.status, answer.header("content-type")), (403, Some("application/json")), "{answer:?}");
    let body = answer.json();
    assert_eq!((&body["code"], &body["scope"]), (&json!("missing_scope"), &json!(scope)), "{answer:?}");
    let sentence = body["error"].as_str().unwrap_or_default();
    assert!(!sentence.is_empty() && body.as_object().unwrap().len() == 3, "{answer:?}");
}

/// The `current` of a refusal because there is an event of the name already.
pub async fn current_of(user: &User, event: &str) -> Value {
    let answer = user.insert_with(&[("if-none-match", "*")], json!({ "event": event, "data": "late" })).await;
    assert_eq!((answer.status, answer.code().as_str()), (412, "precondition_failed"), "{answer:?}");
    answer.json().get("current").cloned().unwrap_or_else(|| panic!("no current: {answer:?}"))
}
