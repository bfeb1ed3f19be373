//! Guards `/list_users`: pages, by tenant and by the beginning of a name or an address.

use serde_json::{Value, json};

use crate::contract::user_object;
use crate::support::{Answer, Client, TestServer};

/// The answer to an admin's request with these fields.
async fn ask(client: &Client, fields: Value) -> Answer {
    client.admin("/list_users", fields).await
}

fn names(users: &Value) -> Vec<String> {
    let users = users.as_array().unwrap_or_else(|| panic!("no list: {users}"));
    users.iter().map(|user| user["username"].as_str().unwrap().to_owned()).collect()
}

/// The names on a page, and what the next one is asked for with.
async fn page(client: &Client, fields: Value) -> (Vec<String>, Option<String>) {
    let page = ask(client, fields.clone()).await.ok().json();
    assert_eq!(page.as_object().unwrap().len(), 2, "{fields}: {page}");
    let next = page["next"].as_str().map(str::to_owned);
    assert!(next.is_some() || page["next"].is_null());
    (names(&page["users"]), next)
}

/// Reads all pages.
async fn pages(client: &Client, mut fields: Value) -> Vec<String> {
    let mut all = Vec::new();
    loop {
        let (names, next) = page(client, fields.clone()).await;
        assert!(names.len() as u64 <= fields["limit"].as_u64().unwrap());
        assert!(next.is_none() || next.as_ref() == names.last(), "next is the last of its page");
        all.extend(names);
        let Some(next) = next else { return all };
        assert!(all.len() < 10_000, "it goes on for ever");
        fields["after"] = json!(next);
    }
}

#[tokio::test]
async fn list_users_gives_all_of_every_tenant() {
    let server = TestServer::start().await;
    let client = server.client();
    assert_eq!(client.admin("/list_users", json!({})).await.ok().body, "[]");
    let mut expected = Vec::new();
    for (name, tenant) in [("alice", "acme"), ("bob", "other"), ("carol", "acme")] {
        client.create_user(name, tenant).await;
        expected.push(user_object(&client, name).await);
    }
    let mut users: Vec<_> = client.admin("/list_users", json!({})).await.ok().json().as_array().unwrap().clone();
    users.sort_by_key(|user| user["username"].to_string());
    assert_eq!(users, expected);
}

#[tokio::test]
async fn many_users_are_listed_once_each_and_by_name_as_a_whole_and_in_pages() {
    // More than one step looks at, of two tenants, and one of a third among the last of them.
    let all: Vec<_> = (0..1500).map(|number| format!("user{number:04}")).collect();
    let tenant = |number: usize| ["even", "odd"][number % 2];
    let mut users: Vec<_> = all.iter().enumerate().map(|(number, name)| (name.as_str(), tenant(number))).collect();
    users[1400].1 = "rare";
    let server = TestServer::start().await.with_earlier_users(&users).await;
    let client = server.client();
    let everybody: Vec<_> = std::iter::once("earlier".to_owned()).chain(all.iter().cloned()).collect();
    let whole = ask(&client, json!({ "limit": null, "unknown": 1 })).await.ok().json();
    assert_eq!(names(&whole), everybody);
    for limit in [400, 1000, 1] {
        // One at a time only the first few.
        let all = if limit == 1 {
            let (first, next) = page(&client, json!({ "limit": 1 })).await;
            let (second, _) = page(&client, json!({ "limit": 1, "after": next })).await;
            assert_eq!([first, second].concat(), everybody[..2]);
            continue;
        } else {
            pages(&client, json!({ "limit": limit })).await
        };
        assert_eq!(all, everybody, "{limit}");
    }
    // What one page shows of a user is what the whole list shows.
    let shown = ask(&client, json!({ "limit": 2, "after": "user0003" })).await.ok().json();
    assert_eq!(shown["users"][0], whole[5]);
    // Without a limit it stays a list, of what comes after, even if nobody has that name.
    assert_eq!(names(&ask(&client, json!({ "after": "user1497x" })).await.ok().json()), all[1498..]);
    // What is rare is found in one page, however many come before it.
    assert_eq!(page(&client, json!({ "limit": 1, "tenant_name": "rare" })).await.0, ["user1400"]);
    assert_eq!(pages(&client, json!({ "limit": 1, "tenant_name": "rare" })).await, ["user1400"]);
    assert_eq!(page(&client, json!({ "limit": 1, "tenant_name": "Rare" })).await, (vec![], None));
    let odd: Vec<_> = all.iter().skip(1).step_by(2).cloned().collect();
    assert_eq!(names(&ask(&client, json!({ "tenant_name": "odd" })).await.ok().json()), odd);
    assert_eq!(pages(&client, json!({ "tenant_name": "odd", "limit": 333 })).await, odd);
    let found = pages(&client, json!({ "tenant_name": "odd", "search": "USER13", "limit": 7 })).await;
    assert_eq!(found, odd[650..700]);
}

#[tokio::test]
async fn users_are_found_by_the_beginning_of_their_name_or_address_in_any_case() {
    let server = TestServer::start().await;
    let client = server.client();
    let users =
        [("alice", Some("zoe@example.com")), ("José", None), ("Zoltan", Some("J.Os@Example.com")), ("bob", None)];
    for (username, email) in users {
        client.create_user_with(username, "acme", json!({ "email": email })).await.ok();
    }
    for (search, expected) in [
        ("zo", &["Zoltan", "alice"][..]),
        ("ZOE@EXAMPLE", &["alice"]),
        ("j", &["José", "Zoltan"]),
        ("JOSÉ", &["José"]),
        ("jose\u{301}", &["José"]),
        ("j.os@example.com", &["Zoltan"]),
        ("lice", &[]),
        ("example.com", &[]),
        ("", &["José", "Zoltan", "alice", "bob"]),
    ] {
        assert_eq!(names(&ask(&client, json!({ "search": search })).await.ok().json()), expected, "{search}");
        assert_eq!(page(&client, json!({ "search": search, "limit": 9 })).await.0, expected, "{search}");
    }
}

#[tokio::test]
async fn a_question_about_users_that_makes_no_sense_is_400() {
    let server = TestServer::start().await;
    let client = server.client();
    for (field, bad) in [
        ("limit", json!(0)),
        ("limit", json!(1001)),
        ("limit", json!(-1)),
        ("limit", json!("10")),
        ("limit", json!(1.5)),
        ("after", json!("")),
        ("after", json!("a:b")),
        ("after", json!(7)),
        ("search", json!(["a"])),
        ("tenant_name", json!(true)),
    ] {
        ask(&client, json!({ field: bad })).await.refused(400, "body_invalid");
    }
    ask(&client, json!({ "tenant_name": "" })).await.refused(400, "tenant_name_invalid");
    // A wrong token is what is said first.
    let wrong = json!({ "admin_token": "wrong", "limit": 0 });
    client.post("/list_users", &wrong).await.refused(401, "admin_token_incorrect");
}
