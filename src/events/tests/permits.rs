//! Guards permits: a stream that waits for something delays no other tenant.

use super::*;

/// More than may take a step at the same time.
const CROWD: usize = 10;

/// Notes which line is written to.
pub(super) struct Noting(pub LineSink, pub &'static str, pub Rc<RefCell<Vec<&'static str>>>);

impl Sink for Noting {
    fn format(&self) -> &'static dyn Format {
        self.0.format()
    }

    fn write(&self, bytes: &Bytes) -> Written {
        self.2.borrow_mut().push(self.1);
        self.0.write(bytes)
    }

    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<()> {
        self.0.poll_ready(context)
    }

    fn poll_gone(&self, context: &mut Context<'_>) -> Poll<()> {
        self.0.poll_gone(context)
    }

    fn finish(&self, ending: Ending) {
        self.0.finish(ending);
    }
}

/// Inserts an event into the tenant that nothing may hold up, and opens a stream there, which has the latest event read into memory.
async fn quiet(house: &mut House) -> Rc<Line> {
    insert_in_quiet(house);
    let line = open_in_quiet(house);
    settle(|| line.positions().len() == 1).await;
    line
}

fn insert_in_quiet(house: &mut House) {
    let mut transaction = house.committer.begin(Timestamp::from_millis(1)).unwrap();
    let (user, event) = (Username::parse("bob").unwrap(), EventName::parse("a").unwrap());
    transaction
        .insert_event(Draft::value(tenant("quiet"), user, event, Payload::from_valid_json("1").unwrap()))
        .unwrap();
    house.hub.publish(transaction.commit().unwrap());
}

fn to_quiet(house: &House, request: &mut SubscribeRequest) {
    let (quiet, bob) = (tenant("quiet"), Username::parse("bob").unwrap());
    request.presence_guard =
        house.hub.registry().user_streams(&bob).arrive(&quiet, GoesOnFor::None, Timestamp::from_millis(1));
    request.tenant = quiet;
}

fn open_in_quiet(house: &House) -> Rc<Line> {
    house.open_with(0, "bob", "*", usize::MAX, |request| to_quiet(house, request))
}

#[test]
fn streams_that_wait_until_the_latest_events_are_in_memory_keep_no_other_tenant_waiting() {
    run(async {
        let mut house = House::holding(&["a"]);
        quiet(&mut house).await;
        house.hub.after_step().close();
        let crowd: Vec<_> = (0..CROWD).map(|_| house.open(0, "u", "*", 0, usize::MAX)).collect();
        settle(|| house.hub.after_step().waiting() == 1).await;
        let line = open_in_quiet(&house);
        settle(|| line.positions() == [2]).await;
        house.hub.after_step().open();
        settle(|| crowd.iter().all(|line| line.positions() == [1])).await;
    });
}

#[test]
fn streams_that_wait_for_the_store_keep_no_other_tenant_waiting() {
    run(async {
        let mut house = House::holding(&["a", "b", "a"]);
        quiet(&mut house).await;
        house.hub.after_step().close();
        let open = |number: usize| match number % 2 {
            0 => house.open(0, &format!("u{number}"), "b", 0, usize::MAX),
            _ => house.open(0, &format!("u{number}"), "b,c", 1, usize::MAX),
        };
        let crowd: Vec<_> = (0..2 * CROWD).map(open).collect();
        settle(|| house.hub.after_step().waiting() > 1).await;
        let line = open_in_quiet(&house);
        settle(|| line.positions() == [4]).await;
        house.hub.after_step().open();
        settle(|| crowd.iter().all(|line| line.positions() == [2])).await;
    });
}

#[test]
fn a_worker_gives_to_one_tenant_and_ends_streams_while_it_waits_for_what_another_has_missed() {
    run(async {
        let mut house = House::holding(&["a"]);
        let quiet = quiet(&mut house).await;
        let [behind, ended] = ["u", "alice"].map(|username| house.open(0, username, "*", 1, usize::MAX));
        rest().await;
        house.hub.after_step().close();
        // More than a channel keeps.
        house.insert(&["b"; 900], &[]);
        settle(|| house.hub.after_step().waiting() == 1).await;
        insert_in_quiet(&mut house);
        settle(|| quiet.positions() == [2, 903]).await;
        house.insert(&["c"], &["alice"]);
        settle(|| ended.is_finished()).await;
        house.hub.after_step().open();
        settle(|| behind.positions().into_iter().eq((3..=902).chain([904]))).await;
        assert!(ended.positions().is_empty());
        insert_in_quiet(&mut house);
        house.insert(&["d"], &[]);
        settle(|| quiet.positions().last() == Some(&905) && behind.positions().last() == Some(&906)).await;
    });
}

#[test]
fn a_stream_that_is_told_of_a_crowd_lets_another_tenant_go_first_after_each_step() {
    run(async {
        let mut house = House::holding(&["a"]);
        quiet(&mut house).await;
        let arrive = |number: usize| {
            let username = Username::parse(&format!("user{number}")).unwrap();
            house.hub.registry().user_streams(&username).arrive(
                &tenant("t"),
                GoesOnFor::None,
                Timestamp::from_millis(1),
            )
        };
        let arrivals: Vec<_> = (0..3000).map(arrive).collect();
        let noted = Rc::new(RefCell::new(Vec::new()));
        let open = |name: &'static str, username: &str, change: &dyn Fn(&mut SubscribeRequest)| {
            let line = Rc::new(Line::default());
            line.room.set(usize::MAX);
            let request = house.request(username, "*", change);
            let sink = Noting(LineSink(Rc::clone(&line), &Lines), name, Rc::clone(&noted));
            tokio::task::spawn_local(house.workers[0].open(request, sink, Bytes::new()));
            line
        };
        let watching = |request: &mut SubscribeRequest| request.options.presence = true;
        let crowd: Vec<_> = (0..CROWD).map(|_| open("crowd", "u", &watching)).collect();
        let alone = open("quiet", "bob", &|request| to_quiet(&house, request));
        noted.borrow_mut().clear();
        settle(|| !alone.positions().is_empty() && crowd.iter().all(|line| line.came().len() > 3000)).await;
        let (noted, before) = (noted.borrow(), CROWD * 2);
        assert!(noted.len() > CROWD * 10 && noted.iter().position(|name| *name == "quiet").unwrap() <= before);
        drop(arrivals);
    });
}
