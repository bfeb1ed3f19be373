//! Guards the guides to leaving other products: their commands take what these products give, with all that it may have, and the users
//! sign in with the passwords of before.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::hashes::hash_of;
use super::{import, outcome, summary};
use crate::documents::page::{Kind, Page};
use crate::support::{TestServer, User};

/// A directory with these files and the programs of a page, in which its commands have run up to the import, but for those that contain
/// this.
fn prepared(path: &str, files: &[&str], left_out: &str) -> tempfile::TempDir {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let directory = tempfile::tempdir().unwrap();
    let mut script = String::from("set -e\n");
    for block in Page::read(root, path).blocks {
        match block.kind {
            _ if block.text.contains("broker import") => break,
            Kind::Run { .. } if !block.text.contains(left_out) => script.push_str(&block.text),
            Kind::File(name) => std::fs::write(directory.path().join(name), block.text).unwrap(),
            _ => {}
        }
    }
    for file in files {
        let file = root.join("tests/api/import").join(file);
        std::fs::copy(&file, directory.path().join(file.file_name().unwrap())).unwrap();
    }
    if files.iter().any(|file| file.ends_with("data.sql")) {
        script.insert_str(0, "mkdir pb_data; sqlite3 pb_data/data.db < data.sql\n");
    }
    let ran = Command::new("sh").args(["-c", &script]).current_dir(directory.path()).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    directory
}

/// Imports these files in their order, and returns their lines.
async fn imported(server: &TestServer, directory: &Path, files: &[&str]) -> String {
    let mut all = String::new();
    for file in files {
        let text = std::fs::read_to_string(directory.join(file)).unwrap();
        let lines = text.lines().count() as u64;
        assert_eq!(outcome(import(&server.client(), file, text.clone()).await), (vec![], summary(lines, lines, 0)));
        all.push_str(&text);
    }
    all
}

/// Signs in with the password of before, twice: by the hash of before, which is replaced.
async fn signed_in(server: &TestServer, username: &str, password: &str) -> User {
    let client = server.client();
    client.login(username, "wrong").await.refused(401, "unauthorized");
    assert!(!hash_of(&client, username).await.unwrap().starts_with("$argon2id$"), "{username}");
    client.login(username, password).await.ok();
    assert!(hash_of(&client, username).await.unwrap().starts_with("$argon2id$"), "{username}");
    let jwt = client.login(username, password).await.jwt();
    client.with_authorization(&format!("Bearer {jwt}"))
}

/// The latest events by name.
async fn latest(user: &User, names: &str) -> Vec<(String, Value)> {
    let events = user.latest(&format!("/events?events={names}")).await;
    let mut events: Vec<(String, Value)> =
        events.into_iter().map(|event| (event.event, serde_json::from_str(&event.data).unwrap())).collect();
    events.sort_by(|one, other| one.0.cmp(&other.0));
    events
}

fn expected<const COUNT: usize>(events: [(&str, Value); COUNT]) -> Vec<(String, Value)> {
    events.into_iter().map(|(name, data)| (name.to_owned(), data)).collect()
}

#[tokio::test]
async fn the_guide_to_leaving_firebase_takes_what_its_exports_may_have() {
    let files = ["firebase/users.json", "firebase/tree.json", "firebase/plans.json"];
    let directory = prepared("docs/leaving-firebase.md", &files, "curl");
    let server = TestServer::start().await;
    imported(&server, directory.path(), &["users.ndjson", "tree.ndjson", "plans.ndjson"]).await;
    let ulla = signed_in(&server, "ulla@example.org", "grüße aus Köln").await;
    signed_in(&server, "user1@example.com", "user1password").await;

    let client = server.client();
    let about = async |name: &str| client.admin("/get_user", json!({ "username": name })).await.ok().json();
    let of_ulla = about("ulla@example.org").await;
    let data = json!({
        "uid": "x7Qm0dPz3hV5kWc9LtYb1nRfJs42", "name": "Ulla \"Uli\" Grün, 1\\2", "email_verified": true,
        "phone": "+4922112345678", "photo": "https://example.org/ulla.png", "claims": { "role": "editor", "plans": [1, 2] },
    });
    assert_eq!((&of_ulla["data"], &of_ulla["email"]), (&data, &json!("ulla@example.org")));
    for (name, is_revoked) in
        [("imported@example.org", true), ("+15555550100", false), ("anonymousUser000000000000002", false)]
    {
        assert_eq!(about(name).await["revoked"], json!(is_revoked), "{name}");
        assert_eq!(hash_of(&client, name).await, None, "{name}");
    }

    let tree = expected([
        (
            "messages/lobby/-NqW1xKpa",
            json!({ "at": 1_731_500_000_000_u64, "text": "Hello", "uid": "kYi4EvWQlQTKSfnJ3dRSP6IH3ed2" }),
        ),
        ("messages/numbered/1", json!({ "text": "one" })),
        ("messages/numbered/2", json!({ "text": "two" })),
    ]);
    assert_eq!(latest(&ulla, "messages/*").await, tree);
    let rooms = expected([("rooms/flag", json!(false)), ("rooms/lobby", json!({ "title": "Lobby" }))]);
    assert_eq!(latest(&ulla, "rooms/*").await, rooms);
    let plan = json!({
        "title": "Move", "done": false, "steps": 3, "share": 0.5, "none": null, "file": "AQID",
        "owner": "projects/my-project/databases/(default)/documents/people/documents", "due": "2026-12-01T09:00:00Z",
        "at": { "latitude": 52.5, "longitude": 13.4 }, "tags": ["home", { "n": -1 }], "no_tags": [], "no_place": {},
    });
    assert_eq!(latest(&ulla, "plans/*").await, expected([("plans/aB3xY", plan), ("plans/empty", json!({}))]));
}

#[tokio::test]
async fn the_guide_to_leaving_pocketbase_takes_what_its_database_may_have() {
    let directory = prepared("docs/leaving-pocketbase.md", &["pocketbase/data.sql"], "mkdir -p pb_data");
    let server = TestServer::start().await;
    let lines = imported(&server, directory.path(), &["pocketbase.ndjson"]).await;
    assert!(!lines.contains("secret-"), "what PocketBase hides: {lines}");
    let pia = signed_in(&server, "pia@example.org", "abcdefghijklmnopqrstuvwxyz").await;
    signed_in(&server, "quin@example.org", "quiet Osprey 71 lantern").await;
    let post = |title: &str, public: bool, stars: Value, extra: Value| {
        json!({
            "title": title, "public": public, "stars": stars, "tags": [], "extra": extra, "place": { "lon": 0, "lat": 0 },
            "author": "", "created": "2026-01-03 09:00:00.000Z",
        })
    };
    let mut first = post("Hello", true, json!(4.5), json!({ "n": 1 }));
    first["tags"] = json!(["a", "b"]);
    first["place"] = json!({ "lon": 13.4, "lat": 52.5 });
    first["author"] = json!("u4k2v0q9x1m7c3b");
    let posts = expected([
        ("posts/p1a2b3c4d5e6f7g", post("Numbers", false, json!(0), json!(0))),
        ("posts/p2a2b3c4d5e6f7g", post("Text", false, json!(0), json!("5"))),
        ("posts/p3a2b3c4d5e6f7g", post("Nothing", false, json!(0), json!(null))),
        ("posts/p8d1s5h2j6f0z9w", first),
    ]);
    assert_eq!(latest(&pia, "posts/*").await, posts);
}
