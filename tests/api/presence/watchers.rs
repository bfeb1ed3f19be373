//! Guards presence on a stream.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Instant;

use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};

use crate::presence::{
    GRACE, LATE, PRESENCE, after_the_grace, beginning, bind, gone, is_in_time, left, online, quiet, removal, resumed,
    there, there_in_time, time, told,
};
use crate::support::{Event, TestServer, User, in_time, insert_big, move_to, revoke, within};

#[tokio::test]
async fn a_watcher_is_told_first_of_everybody_online() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let bob = server.user("bob", "acme").await;
    let carol = server.user("carol", "acme").await;
    let erin = server.user("erin", "acme").await;
    let zoe = server.user("Zo\u{eb}+1 x", "acme").await;
    let mallory = server.user("mallory", "other").await;
    let events = [alice.insert("a", json!(1)).await, alice.insert("b", json!(2)).await];
    let _of_others = [bob.stream().await, bob.stream().await, mallory.stream().await];
    let of_zoe = zoe.stream().await;
    there(&alice, &[("Zo\u{eb}+1 x", 1), ("bob", 2)]).await;
    drop(of_zoe);
    there(&alice, &[("Zo\u{eb}+1 x", 0), ("bob", 2)]).await;

    let mut watching = carol.stream_of("/sse?presence=true", None).await;
    let (said, came) = beginning(&mut watching, 3, 2).await;
    // She as well, and a user that is away for a moment.
    let people = there(&alice, &[("Zo\u{eb}+1 x", 0), ("bob", 2), ("carol", 1)]).await;
    assert_eq!(said, online(&people));
    assert_eq!([&came[0].id, &came[1].id], [&events[0], &events[1]]);

    let mut also_watching = erin.stream_of("/sse?presence=true&snapshot=false", None).await;
    let (said, _) = beginning(&mut also_watching, 4, 0).await;
    let people = there(&alice, &[("Zo\u{eb}+1 x", 0), ("bob", 2), ("carol", 1), ("erin", 1)]).await;
    assert_eq!(said, online(&people));
    assert_eq!(told(&mut watching).await, people[3].online());
    // Nobody twice.
    for watching in [&mut watching, &mut also_watching] {
        quiet(watching, &alice).await;
    }
}

#[tokio::test]
async fn watchers_are_told_of_each_user_that_comes_or_goes_and_nobody_else_is() {
    in_time("a client within the grace", async || {
        let server = TestServer::start().await;
        let alice = server.user("alice", "acme").await;
        let bob = server.user("bob", "acme").await;
        let carol = server.user("carol", "acme").await;
        let mallory = server.user("mallory", "other").await;
        // They do not want to know.
        let mut not_watching = [alice.stream().await, alice.stream_of("/sse?presence=false", None).await];
        let filters = ["", "", "", "", "&events=mark", "&except=news"];
        let mut watching = Vec::new();
        for filter in filters {
            let mut stream = alice.stream_of(&format!("/sse?presence=true{filter}"), None).await;
            let (said, _) = beginning(&mut stream, 1, 0).await;
            assert_eq!(said["alice"]["online"], true);
            watching.push(stream);
        }
        let mut of_mallory = mallory.stream_of("/sse?presence=true", None).await;
        beginning(&mut of_mallory, 1, 0).await;

        let here = filters.len() + not_watching.len();
        let first = bob.stream().await;
        let people = there(&alice, &[("alice", here), ("bob", 1)]).await;
        for stream in &mut watching {
            assert_eq!(told(stream).await, people[1].online());
        }
        // Only the first stream is a coming, and only the last one's end can be a going.
        let second = bob.stream().await;
        there(&alice, &[("alice", here), ("bob", 2)]).await;
        drop(first);
        there(&alice, &[("alice", here), ("bob", 1)]).await;
        for stream in &mut watching {
            quiet(stream, &alice).await;
        }

        let of_carol = carol.stream().await;
        let people = there(&alice, &[("alice", here), ("bob", 1), ("carol", 1)]).await;
        for stream in &mut watching {
            assert_eq!(told(stream).await, people[2].online());
        }
        // She reconnects, of which nothing is to be told; he does not.
        let since = Instant::now();
        drop(of_carol);
        there_in_time(&alice, &[("alice", here), ("bob", 1), ("carol", 0)]).await?;
        let _of_carol = carol.stream().await;
        if !is_in_time(since) {
            return None;
        }
        there(&alice, &[("alice", here), ("bob", 1), ("carol", 1)]).await;
        let closed = time(&alice).await;
        drop(second);
        for stream in &mut watching {
            assert_eq!(told(stream).await, gone("bob"));
            after_the_grace(closed, time(&alice).await);
        }
        // Nor were they told of her, whose time would have come before his.
        let _back = bob.stream().await;
        let people = there(&alice, &[("alice", here), ("bob", 1), ("carol", 1)]).await;
        for stream in &mut watching {
            assert_eq!(told(stream).await, people[1].online());
        }

        alice.insert("news", json!(1)).await;
        for (stream, filter) in watching.iter_mut().zip(filters) {
            let names = quiet(stream, &alice).await;
            match filter {
                "" => assert!(names.iter().any(|name| name == "news"), "{names:?}"),
                "&events=mark" => assert!(names.iter().all(|name| name == "mark"), "{names:?}"),
                _ => assert!(names.iter().all(|name| name != "news"), "{names:?}"),
            }
        }
        for stream in &mut not_watching {
            quiet(stream, &alice).await;
        }
        quiet(&mut of_mallory, &mallory).await;
        Some(())
    })
    .await;
}

#[tokio::test]
async fn a_client_that_resumes_after_presence_was_told_misses_nothing() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let bob = server.user("bob", "acme").await;
    let carol = server.user("carol", "acme").await;
    let first = alice.insert("a", json!(1)).await;
    alice.insert("b", json!(1)).await;
    let mut watching = bob.stream_of("/sse?presence=true", None).await;
    let mut frames = watching.take(3).await;
    let _of_carol = carol.stream().await;
    let coming = watching.next().await;
    assert_eq!(coming.name, "$presence/carol");
    alice.insert("c", json!(1)).await;
    frames.extend([coming.clone(), watching.next().await]);

    // A client that resumes is told of everybody as well.
    let mut again = bob.stream_of("/sse?presence=true", Some(&first)).await;
    let (said, came) = beginning(&mut again, 2, 2).await;
    assert!(said.keys().eq(["bob", "carol"]), "{said:?}");
    assert!(came.iter().map(|event| event.name.as_str()).eq(["b", "c"]), "{came:?}");

    let had = |until: usize, name: &str| frames[..until].iter().any(|frame| frame.name == name);
    for (number, frame) in frames.iter().enumerate().filter(|(_, frame)| frame.name.starts_with(PRESENCE)) {
        assert!(frame.id.len() == 22 && frame.id.bytes().all(|byte| byte.is_ascii_digit()), "{frame:?}");
        let came = resumed(&alice, &frame.id).await;
        for name in ["a", "b", "c"] {
            assert!(had(number, name) || came.iter().any(|came| came == name), "{name} is missed: {frames:?} {came:?}");
        }
    }
    assert_eq!(resumed(&alice, &coming.id).await, ["c"], "and nothing comes again");
}

#[tokio::test]
async fn a_user_that_is_revoked_or_moved_to_another_tenant_goes() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let bob = server.user("bob", "acme").await;
    let carol = server.user("carol", "acme").await;
    let mallory = server.user("mallory", "other").await;
    let (mut of_bob, bobs_id) = bob.open("/sse?events=none", None).await;
    let (_of_carol, carols_id) = carol.open("/sse?events=none", None).await;
    bind(&bob, &bobs_id, &["seat/bob"]).await;
    bind(&carol, &carols_id, &["seat/carol"]).await;
    there(&alice, &[("bob", 1), ("carol", 1)]).await;
    let mut watching = alice.stream_of("/sse?presence=true&events=mark", None).await;
    beginning(&mut watching, 3, 0).await;
    let mut of_mallory = mallory.stream_of("/sse?presence=true", None).await;
    beginning(&mut of_mallory, 1, 0).await;

    let began = time(&alice).await;
    revoke(&alice.client, "bob").await;
    move_to(&alice.client, "carol", "other").await;
    assert_eq!(of_bob.rest().await, []);
    // Hers goes on there.
    let people = there(&mallory, &[("carol", 1), ("mallory", 1)]).await;
    assert_eq!(told(&mut of_mallory).await, people[0].online());
    bind(&carol, &carols_id, &["seat/carol"]).await;
    let (_another, new_id) = carol.open("/sse?events=none", Some(&carols_id)).await;
    assert_ne!(new_id, carols_id, "it is open");

    let mut said = [told(&mut watching).await, told(&mut watching).await];
    said.sort_by(|one, other| one.0.cmp(&other.0));
    assert_eq!(said, [gone("bob"), gone("carol")]);
    there(&alice, &[("alice", 1)]).await;
    for name in ["bob", "carol"] {
        let removal = removal(&alice, &format!("seat/{name}")).await;
        assert!(removal.timestamp <= began + GRACE + LATE, "{removal:?}, began at {began}");
        assert_eq!(removal.username, name);
    }
    // But not what lasts as long as her stream where she is now.
    assert_eq!(left(&mallory, "seat/*").await, ["seat/carol"]);
    quiet(&mut watching, &alice).await;
    quiet(&mut of_mallory, &mallory).await;
}

/// A watcher whose receive buffer is small, and that reads nothing for now.
async fn stalled_watcher(server: &TestServer, user: &User) -> BufReader<TcpStream> {
    let address: SocketAddr = server.address().parse().unwrap();
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut socket = within("a connection", socket.connect(address)).await.unwrap();
    let authorization = &user.authorization;
    let head = format!("GET /sse?presence=true HTTP/1.1\r\nhost: x\r\nauthorization: {authorization}\r\n\r\n");
    socket.write_all(head.as_bytes()).await.unwrap();
    BufReader::new(socket)
}

async fn next_line(socket: &mut BufReader<TcpStream>) -> String {
    let mut line = String::new();
    let read = within("a line", socket.read_line(&mut line)).await.unwrap();
    assert!(read > 0, "the stream goes on");
    line.trim_end().to_owned()
}

/// The next frame. Every chunk is whole frames, so what stands between them is of no interest.
async fn next_frame(socket: &mut BufReader<TcpStream>) -> Event {
    loop {
        let first = next_line(socket).await;
        if first.starts_with("event:") {
            let (second, third) = (next_line(socket).await, next_line(socket).await);
            return Event::parse(&[first, second, third].join("\n"));
        }
    }
}

#[tokio::test]
async fn a_watcher_that_stalls_for_a_while_knows_afterwards_which_users_are_online() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let bob = server.user("bob", "acme").await;
    let carol = server.user("carol", "acme").await;
    let dave = server.user("dave", "acme").await;
    let erin = server.user("erin", "acme").await;
    let frank = server.user("frank", "acme").await;
    let (of_carol, _of_dave) =
        (carol.stream_of("/sse?events=none", None).await, dave.stream_of("/sse?events=none", None).await);
    there(&bob, &[("carol", 1), ("dave", 1)]).await;
    let mut watching = stalled_watcher(&server, &alice).await;
    there(&bob, &[("alice", 1), ("carol", 1), ("dave", 1)]).await;
    insert_big(&bob).await;
    // One goes that was there before, and one that has come meanwhile: both in one grace, as nobody may stall for too long.
    let of_frank = frank.stream_of("/sse?events=none", None).await;
    there(&bob, &[("alice", 1), ("carol", 1), ("dave", 1), ("frank", 1)]).await;
    drop((of_carol, of_frank));
    let _of_erin = erin.stream_of("/sse?events=none", None).await;
    let people = there(&bob, &[("alice", 1), ("dave", 1), ("erin", 1)]).await;
    let people: BTreeMap<_, _> = people.into_iter().map(|person| (person.username, person.since)).collect();
    bob.insert("mark", json!(null)).await;

    let (mut known, mut marked) = (BTreeMap::new(), false);
    within("the watcher to know", async {
        while !(marked && known == people) {
            let frame = next_frame(&mut watching).await;
            marked |= frame.name == "mark";
            let Some(username) = frame.name.strip_prefix(PRESENCE) else { continue };
            let data = frame.json();
            if data["online"] == true {
                known.insert(username.to_owned(), data["since"].as_u64().unwrap());
            } else {
                known.remove(username);
            }
        }
    })
    .await;
    // And is told again at once.
    let _of_bob = bob.stream_of("/sse?events=none", None).await;
    within("the watcher to be told", async { while next_frame(&mut watching).await.name != "$presence/bob" {} }).await;
}
