//! Guards acknowledged events against a loss of power, which takes everything that the file system has only in memory.

use std::collections::HashMap;

use futures_util::future::join_all;
use serde_json::json;

use crate::support::{LoopDisk, Receipt, TestServer};

const ROUNDS: usize = 10;
const WRITERS: usize = 8;

#[tokio::test]
async fn after_a_loss_of_power_everything_acknowledged_is_there() {
    let home = tempfile::tempdir().unwrap();
    let Some(mut disk) = LoopDisk::create(home.path(), "power0", 512) else { return };
    let mut acknowledged: HashMap<String, String> = HashMap::new();
    let mut users: Vec<String> = Vec::new();

    for round in 1..=ROUNDS {
        let db = format!("--db={}", disk.path().join("db").display());
        let mut server = TestServer::start_with(&[&db, "--journal_bytes=65536", "--max_event_bytes=1048576"]).await;

        // What the round before left must all be there, and ids must go on from it.
        let admin = server.client();
        if let Some(first) = users.first() {
            let held = admin.sign_in(first).await.everything().await;
            for (name, id) in &acknowledged {
                let held = held.get(name).unwrap_or_else(|| panic!("round {round}: {name} is lost"));
                // Of a shared name the next insert may be on disk already, though nobody was told yet.
                assert!(
                    if name.starts_with("shared") { held.id >= *id } else { held.id == *id },
                    "{name}: {held:?}, not {id}"
                );
                assert!(held.data.trim_matches('"').bytes().all(|byte| byte == b'x'), "{name} is not whole");
            }
        }
        for user in &users {
            admin.admin("/get_user", json!({ "username": user })).await.ok();
        }

        let newcomer = format!("user{round}");
        let user = server.user(&newcomer, "acme").await;
        users.push(newcomer);
        let (inserted, mut inserts) = tokio::sync::mpsc::unbounded_channel();
        let writers = (0..WRITERS).map(|writer| {
            let (user, inserted) = (user.clone(), inserted.clone());
            tokio::spawn(async move {
                for number in 0.. {
                    // Small and large, new names and known ones.
                    let name =
                        if number % 3 == 0 { format!("shared{writer}") } else { format!("{round}/{writer}/{number}") };
                    let body = json!({ "event": name, "data": "x".repeat(size_of(number)) });
                    // The server is killed meanwhile: then there is no answer, and nothing was promised.
                    let Some(answer) = user.insert_if_there(&[], body).await else { return };
                    inserted.send((name, answer.read::<Receipt>().id)).unwrap();
                }
            })
        });
        let writers: Vec<_> = writers.collect();
        // Another number of acknowledged inserts in every round.
        for _ in 0..(round * 37) {
            let (name, id) = inserts.recv().await.unwrap();
            acknowledged.insert(name, id);
        }
        server.kill();
        drop(inserted);
        join_all(writers).await.into_iter().for_each(|writer| writer.unwrap());
        while let Some((name, id)) = inserts.recv().await {
            acknowledged.insert(name, id);
        }
        disk = disk.after_power_loss(&format!("power{round}"));
    }
    assert!(acknowledged.len() > 500);
}

/// How large a writer's so many-th event is: small, large, and so large that it takes several rows.
fn size_of(number: usize) -> usize {
    match number % 30 {
        0 | 10 => 50_000,
        20 => 150_000,
        _ => 100,
    }
}
