//! Guards what one stream, one client or one tenant may cost the others.

use super::permits::Noting;
use super::*;
use crate::events::stream_id::Serial;

#[test]
fn a_stream_with_events_of_its_own_user_leaves_nothing_behind() {
    run(async {
        let mut house = House::with(Authorize::Scopes);
        let scopes = ["news", "user/{username}", "user/{username}/*"];
        let scopes = scopes.map(|resource| Scope::parse(&format!("{resource}:get")).unwrap());
        let open = |house: &House, username: &str| {
            house.open_with(0, username, "*", usize::MAX, |request| {
                (request.view.rights, request.view.own) =
                    Authorize::Scopes.to_see(&Username::parse(username).unwrap(), &scopes);
            })
        };
        // The tenant stays in memory as long as this stream is there.
        let _other = house.open(0, "other", "*", 0, usize::MAX);
        let [alice, bob] = ["alice", "bob"].map(|username| open(&house, username));
        house.insert(&["user/alice", "user/bob/1", "news"], &[]);
        settle(|| alice.positions() == [1, 3] && bob.positions() == [2, 3]).await;
        let subscriptions = house.workers[0].worker.subscriptions(&tenant("t"));
        assert!(subscriptions.has_own());
        alice.go();
        settle(|| house.hub.registry().is_gone(&Username::parse("alice").unwrap())).await;
        house.insert(&["user/bob/2"], &["bob"]);
        settle(|| house.hub.registry().is_gone(&Username::parse("bob").unwrap())).await;
        assert!(!subscriptions.has_own());
    });
}

#[test]
fn streams_that_close_leave_nothing_in_their_tenant_and_many_may_close_at_once() {
    run(async {
        let mut house = House::with(Authorize::Scopes);
        // The tenant stays in memory as long as this stream is there.
        let _other = house.open(0, "other", "*", 0, usize::MAX);
        let (subscriptions, worker) =
            (house.workers[0].worker.subscriptions(&tenant("t")), Rc::clone(&house.workers[0].worker));
        let empty = (subscriptions.sizes(), worker.streams().sizes());
        let scopes = ["news", "own/*", "user/{username}", "user/{username}/*"];
        let scopes = scopes.map(|resource| Scope::parse(&format!("{resource}:get")).unwrap());
        for _ in 0..3 {
            let open = |number: usize| {
                let username = format!("user{}", number % 40);
                house.open_with(0, &username, &format!("news,own/{number}"), usize::MAX, |request| {
                    request.options.presence = true;
                    (request.view.rights, request.view.own) =
                        Authorize::Scopes.to_see(request.presence_guard.user_streams().username(), &scopes);
                })
            };
            let lines: Vec<_> = (0..400).map(open).collect();
            let [groups, indexed, own, watchers] = subscriptions.sizes();
            assert!(groups > 400 && indexed > 800 && own > 800 && watchers == 400);
            assert_eq!(worker.streams().sizes(), (401, 41));
            // One by one, and then the rest together: each takes all of its entries with it. Its filter and its scopes have two
            // patterns each, and others have patterns of the same lengths.
            let (some, rest) = lines.split_at(300);
            for (line, gone) in some.iter().zip(1..) {
                line.go();
                let left = [groups - gone, indexed - 2 * gone, own - 2 * gone, watchers - gone];
                settle(|| subscriptions.sizes() == left).await;
            }
            rest.iter().for_each(|line| line.go());
            settle(|| (subscriptions.sizes(), worker.streams().sizes()) == empty).await;
        }
        house.insert(&["news", "user/user1"], &[]);
    });
}

/// The time of the processor that this thread has used. Unlike a clock, it stands still while others run.
fn used() -> Duration {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(used.tv_sec as u64, used.tv_nsec as u32)
}

/// Whether the end of very many costs about as much for each as the end of few, as `end` tells the time of so many. It would cost
/// the square of that if each looked at all that are left.
async fn is_as_much_for_each(few: usize, end: impl AsyncFn(usize) -> Duration) {
    const TIMES: u32 = 16;
    // The first ones are for what is done once.
    end(few).await;
    let (of_few, of_many) = (end(few).await, end(few * TIMES as usize).await);
    assert!(of_many < of_few * TIMES * 4, "{few}: {of_few:?}, {TIMES} times as many: {of_many:?}");
}

#[test]
fn the_end_of_many_watchers_costs_as_much_for_each_as_the_end_of_few() {
    run(async {
        let house = House::new();
        // The tenant stays in memory as long as this stream is there.
        let _other = house.open(0, "other", "*", 0, usize::MAX);
        let subscriptions = house.workers[0].worker.subscriptions(&tenant("t"));
        let watchers = || subscriptions.sizes()[3];
        // Among as many users that are present.
        let alone = async |count: usize| {
            let arrive = |number: usize| {
                let streams = house.hub.registry().user_streams(&Username::parse(&format!("user{number}")).unwrap());
                streams.arrive(&tenant("t"), GoesOnFor::None, Timestamp::from_millis(1))
            };
            let _users: Vec<_> = (0..count).map(arrive).collect();
            let serials: Vec<_> =
                std::iter::successors(Some(Serial::default()), |serial| Some(serial.next())).take(count).collect();
            serials.iter().for_each(|serial| subscriptions.watch(*serial));
            assert_eq!(watchers(), count);
            let before = used();
            serials.iter().for_each(|serial| subscriptions.unwatch(*serial));
            assert_eq!(watchers(), 0);
            used() - before
        };
        is_as_much_for_each(1_000, alone).await;

        // And with all else that a stream is.
        let streams = async |count: usize| {
            let open = || house.open_with(0, "u", "*", usize::MAX, |request| request.options.presence = true);
            let lines: Vec<_> = (0..count).map(|_| open()).collect();
            settle(|| watchers() == count).await;
            rest().await;
            let before = used();
            lines.iter().for_each(|line| line.go());
            settle(|| watchers() == 0).await;
            used() - before
        };
        is_as_much_for_each(400, streams).await;
    });
}

#[test]
fn present_users_are_listed_in_parts_each_once_and_by_name() {
    run(async {
        let house = House::with(Authorize::Open);
        let names: Vec<_> = (0..600).map(|number| format!("user{number:03}")).collect();
        let arrive = |name: &String| {
            let username = Username::parse(name).unwrap();
            house.hub.registry().user_streams(&username).arrive(
                &tenant("t"),
                GoesOnFor::None,
                Timestamp::from_millis(1),
            )
        };
        let arrivals: Vec<_> = names.iter().map(arrive).collect();
        let (mut listed, mut parts, mut is_more) = (Vec::new(), 0, true);
        while is_more {
            let after = listed.last().map(|name: &String| Username::parse(name).unwrap());
            let part;
            (part, is_more) = house.hub.registry().people_after(&tenant("t"), after.as_ref());
            listed.extend(part.into_iter().map(|person| person.username.to_string()));
            parts += 1;
        }
        assert!(listed == names && parts == 3, "{parts}: {listed:?}");
        drop(arrivals);
    });
}

/// The names of which a stream was told that they are lost.
fn left(line: &Line) -> Vec<String> {
    let left = line.came().into_iter().filter(|came| came.name == "$left");
    left.map(|came| came.data).collect()
}

#[test]
fn a_client_that_resumes_from_a_control_event_with_other_rights_is_told_what_is_lost() {
    run(async {
        let mut house = House::with(Authorize::Scopes);
        house.insert(&["a", "b"], &[]);
        rescope(&mut house, "u", &["*:get"]);
        let user_streams = house.hub.registry().user_streams(&Username::parse("u").unwrap());
        let (head, changes) = (house.hub.store().head(), user_streams.changes());
        rescope(&mut house, "u", &["a:get"]);
        // Its name was never seen by these rights.
        house.insert(&["later"], &[]);
        let line = house.open_with(0, "u", "*", usize::MAX, |request| {
            (request.view, request.changes) = (view("u", &["*:get"]), changes);
            (request.start, request.options.marks) = (Start::after(Position::START, head), true);
        });
        settle(|| line.names().contains(&"$synced".to_owned())).await;
        assert_eq!(left(&line), ["b"]);
        assert!(line.names().contains(&"a".to_owned()));
    });
}

#[test]
fn a_stream_whose_rights_change_again_and_again_while_nothing_is_read_is_reset_in_place_of_a_list_that_grows() {
    run(async {
        let mut house = House::with(Authorize::Scopes);
        house.insert(&["a", "b", "c"], &[]);
        rescope(&mut house, "u", &["*:get"]);
        let line = house.open_with(0, "u", "*", usize::MAX, |request| {
            (request.view, request.options.marks) = (view("u", &["*:get"]), true);
        });
        settle(|| line.names().contains(&"$synced".to_owned())).await;
        let before = line.came().len();
        line.room.set(0);
        for scope in ["a:get", "b:get", "c:get", "a:get", "b:get", "c:get"] {
            rescope(&mut house, "u", &[scope]);
            rest().await;
        }
        line.give_room(usize::MAX / 2);
        settle(|| line.came()[before..].iter().any(|came| came.name == "$synced")).await;
        let came = line.came().split_off(before);
        let resets: Vec<_> = came.iter().filter(|came| came.name == "$reset").map(|came| came.data.as_str()).collect();
        assert_eq!(resets, ["OtherScopes"]);
        let since: Vec<_> = came.iter().skip_while(|came| came.name != "$reset").map(|came| &came.name).collect();
        assert_eq!(since, ["$reset", "c", "$synced"]);
    });
}

#[test]
fn a_stream_without_a_worker_ends_when_its_rights_change() {
    run(async {
        let mut house = House::with(Authorize::Scopes);
        house.insert(&["a"; 2000], &[]);
        let line = house.open_with(0, "u", "*", 1000, |request| {
            request.start = Start::after(Position::new(1), house.hub.store().head());
        });
        rest().await;
        assert!(!line.positions().is_empty());
        let House { mut committer, hub, workers, _directory } = house;
        drop(workers);
        rest().await;
        let mut transaction = committer.begin(Timestamp::from_millis(1)).unwrap();
        transaction.change_rights_of(&Username::parse("u").unwrap());
        hub.publish(transaction.commit().unwrap());
        line.give_room(usize::MAX / 2);
        settle(|| line.is_finished()).await;
        assert!(line.positions().len() < 1999);
    });
}

/// Whether a tenant is given its event while a worker has more of another to give than it can at once.
fn is_served_beside_a_busy_tenant(flood: usize) {
    run(async {
        let mut house = House::holding(&["a"]);
        let noted = Rc::new(RefCell::new(Vec::new()));
        let open = |name: &'static str| {
            let (line, tenant, username) = (Rc::new(Line::default()), tenant(name), Username::parse("u").unwrap());
            line.room.set(usize::MAX);
            let request = house.request("u", "*", |request| {
                let streams = house.hub.registry().user_streams(&username);
                request.presence_guard = streams.arrive(&tenant, GoesOnFor::Last, Timestamp::from_millis(1));
                (request.tenant, request.start) = (tenant, Start::now(house.hub.store().head(), None));
            });
            let sink = Noting(LineSink(Rc::clone(&line), &Lines), name, Rc::clone(&noted));
            tokio::task::spawn_local(house.workers[0].open(request, sink, Bytes::new()));
            line
        };
        let (busy, quiet) = (open("t"), open("quiet"));
        rest().await;
        let gate = &house.workers[0].worker.mailbox().before_dispatch;
        gate.close();
        let mut transaction = house.committer.begin(Timestamp::from_millis(1)).unwrap();
        for name in ["t"].repeat(flood).into_iter().chain(["quiet"]) {
            let (user, event) = (Username::parse("u").unwrap(), EventName::parse("a").unwrap());
            let data = Payload::from_valid_json(&format!("\"{}\"", "x".repeat(300))).unwrap();
            transaction.insert_event(Draft::value(tenant(name), user, event, data)).unwrap();
        }
        house.hub.publish(transaction.commit().unwrap());
        noted.borrow_mut().clear();
        gate.open();
        settle(|| busy.positions().len() == flood && quiet.positions().len() == 1).await;
        let noted = noted.borrow();
        assert!(noted.iter().take(2).any(|name| *name == "quiet"), "{noted:?}");
        assert!(noted.len() > 3);
    });
}

#[test]
fn a_tenant_is_served_while_a_worker_has_much_of_another_to_give() {
    // Events in the channel, and events that must be read from the store.
    is_served_beside_a_busy_tenant(600);
    is_served_beside_a_busy_tenant(1500);
}
