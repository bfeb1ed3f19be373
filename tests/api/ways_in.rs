//! Guards the ways in: whatever comes about, no door lets in somebody whom another one would not, and no stream goes on that should not.

mod condition;
mod door;
mod mqtt_client;
mod open;
mod said;
mod session;
mod table;
mod user_socket;
mod visitor;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;

use condition::Condition;
use door::{Attempt, Door};
use open::{Open, Received};
use said::{Said, is_one_of};
use table::Cell::{self, Elsewhere, No, Silent, Yes};
use table::{Row, row};
use visitor::{Visitor, World};

use crate::channel::token;
use crate::import;
use crate::support::{User, in_time};

/// A stream ends within a second of what ends it. A busy machine gets more; one that found out only at its next heartbeat would take
/// 12 s.
const PROMPTLY: Duration = Duration::from_secs(8);
/// How many conditions come about at once.
const AT_ONCE: usize = 6;

#[tokio::test]
async fn no_way_in_is_a_bypass_whatever_comes_about() {
    let world = &World::start().await;
    // A few at a time: tickets, and tokens that are short, last no longer than all of them would take together.
    let mut faults = Vec::new();
    for conditions in condition::ALL.chunks(AT_ONCE) {
        let cases = conditions.iter().map(|condition| async {
            in_time("a token that is short", async || Case::judge(world, *condition).await).await
        });
        faults.extend(join_all(cases).await.into_iter().flatten());
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn the_table_has_one_row_for_every_condition_at_every_door() {
    for condition in condition::ALL {
        for door in door::ALL {
            row(*condition, *door);
        }
    }
}

#[tokio::test]
async fn streams_of_every_way_in_end_within_a_second_of_a_revocation() {
    let world = World::start().await;
    in_time("the end of all streams", async || {
        let mut visitor = Condition::Revoked.visitor(&world).await;
        let doors: Vec<_> = rows(Condition::Revoked).into_iter().map(|(door, _)| door).collect();
        let opening = doors.iter().map(|door| door.subscribe(&visitor));
        let mut open: Vec<_> = join_all(opening).await.into_iter().map(|attempt| attempt.open.unwrap()).collect();
        Condition::Revoked.bring_about(&world, &mut visitor).await;
        let since = Instant::now();
        for received in join_all(open.iter_mut().map(|open| open.receive("mark-none"))).await {
            assert!(received.end.is_some());
        }
        (since.elapsed() < Duration::from_secs(1)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_channels_token_that_was_not_used_for_a_week_opens_nothing() {
    let world = World::start().await;
    let visitor = Condition::Nothing.visitor(&world).await;
    let channels = |cells| table::CHANNELS.iter().map(|door| (*door, cells)).collect::<Vec<_>>();
    let well = channels([Yes; 5]);
    let mut case = Case::new(&world, Condition::Nothing, visitor);
    let mut open = case.subscribe(&well, BEFORE.name).await;
    case.insert_and_receive(&well, &mut open, BEFORE).await;
    let Case { mut visitor, acme, globex, faults, .. } = case;
    drop(open);

    let world = world.after(8 * 24 * 3600).await;
    visitor.client = world.server.client();
    visitor.channel_token_of_marks = token(&world.server, &visitor.mark).await;
    let mut case = Case { acme, globex, faults, ..Case::new(&world, Condition::GuestExpired, visitor) };
    let expired = channels([Silent, Yes, No("disconnected"), Silent, Yes]);
    let mut open = case.subscribe(&expired, ANEW.name).await;
    case.insert_and_receive(&expired, &mut open, ANEW).await;
    case.look_into_history().await;
    assert!(case.faults.is_empty(), "{}", case.faults.join("\n"));
}

#[tokio::test]
async fn what_an_admin_imports_comes_by_every_way_to_those_alone_who_may_see_it() {
    let world = World::start().await;
    let mut faults = Vec::new();
    for condition in [Condition::Nothing, Condition::ScopeTaken, Condition::MovedToAnotherTenant] {
        let rows = rows(condition);
        let well: Vec<_> = rows.iter().map(|(door, _)| (*door, cells(Condition::Nothing, *door))).collect();
        let mut case = Case::new(&world, condition, condition.visitor(&world).await);
        let mut open = case.subscribe(&well, BEFORE.name).await;
        condition.bring_about(&world, &mut case.visitor).await;
        case.import_and_receive(&rows, &mut open).await;
        case.look_into_history().await;
        faults.extend(case.faults);
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The doors that a condition applies to, and what is expected there.
fn rows(condition: Condition) -> Vec<(Door, [Cell; 5])> {
    let expected = door::ALL.iter().filter_map(|door| match row(condition, *door) {
        Row::Is(cells) => Some((*door, *cells)),
        Row::DoesNotApply(_) => None,
    });
    expected.collect()
}

/// A condition, and a visitor for whom it comes about.
struct Case<'a> {
    world: &'a World,
    condition: Condition,
    visitor: Visitor,
    /// The data of all that is in the room of acme, and in that of globex.
    acme: Vec<String>,
    globex: Vec<String>,
    faults: Vec<String>,
}

/// What is inserted, and comes, from one moment to the next.
#[derive(Clone, Copy)]
struct Phase {
    name: &'static str,
    /// Which column tells what comes, and which what an insert is answered.
    receive: usize,
    insert: usize,
}

/// Which column tells what subscribing is answered.
const SUBSCRIBE: usize = 2;
const BEFORE: Phase = Phase { name: "before", receive: 0, insert: 1 };
const MEANWHILE: Phase = Phase { name: "meanwhile", receive: 0, insert: 1 };
const ANEW: Phase = Phase { name: "anew", receive: 3, insert: 4 };

impl<'a> Case<'a> {
    fn new(world: &'a World, condition: Condition, visitor: Visitor) -> Self {
        Self { world, condition, visitor, acme: Vec::new(), globex: Vec::new(), faults: Vec::new() }
    }

    /// Lets the visitor come to all doors before and after. Returns what is not as it is expected; `None` if it took too long.
    async fn judge(world: &'a World, condition: Condition) -> Option<Vec<String>> {
        let visitor = condition.visitor(world).await;
        let mut case = Self::new(world, condition, visitor);
        let rows = rows(condition);
        // That all is well before is seen from the row of a condition under which it stays so.
        let well: Vec<_> =
            rows.iter().map(|(door, _)| *door).map(|door| (door, cells(Condition::Nothing, door))).collect();

        let mut open = case.subscribe(&well, BEFORE.name).await;
        case.insert_and_receive(&well, &mut open, BEFORE).await;
        if condition.came_too_early(&case.visitor) {
            return None;
        }
        condition.bring_about(world, &mut case.visitor).await;
        let since = Instant::now();
        case.insert_and_receive(&rows, &mut open, MEANWHILE).await;
        if since.elapsed() > PROMPTLY {
            case.faults.push(format!("{condition:?}: all that ended took {:?}", since.elapsed()));
        }
        drop(open);
        let mut open = case.subscribe(&rows, ANEW.name).await;
        case.insert_and_receive(&rows, &mut open, ANEW).await;
        case.look_into_history().await;
        Some(case.faults)
    }

    fn fault(&mut self, phase: &str, door: Door, what: &str, expected: Cell, came: impl std::fmt::Debug) {
        let condition = self.condition;
        self.faults.push(format!("{condition:?}, {door:?}, {phase}: {what}: expected {expected:?}, but {came:?}"));
    }

    async fn subscribe(&mut self, rows: &[(Door, [Cell; 5])], phase: &str) -> Vec<Option<Open>> {
        let attempts = join_all(rows.iter().map(|(door, _)| door.subscribe(&self.visitor))).await;
        let mut all = Vec::new();
        for ((door, cells), Attempt { said, open }) in rows.iter().zip(attempts) {
            let as_expected = match cells[SUBSCRIBE] {
                No(codes) => is_one_of(&said, codes),
                _ => said.is_ok(),
            };
            if !as_expected {
                self.fault(phase, *door, "subscribe", cells[SUBSCRIBE], said);
            }
            all.push(open);
        }
        all
    }

    /// Everybody inserts something, and whatever is open is read.
    async fn insert_and_receive(&mut self, rows: &[(Door, [Cell; 5])], open: &mut [Option<Open>], phase: Phase) {
        let (acme, globex) = (self.acme.len(), self.globex.len());
        let (name, room) = (phase.name, self.visitor.room.clone());
        let data: Vec<_> = rows.iter().map(|(door, _)| format!("{name} by {door:?}")).collect();
        let of_others =
            [(&self.world.witness, format!("{name} of acme")), (&self.world.other, format!("{name} of globex"))];
        let visitor = &self.visitor;
        let by_doors = rows.iter().zip(open.iter_mut()).zip(&data).map(|(((door, _), open), data)| async move {
            match open {
                Some(open) if phase.insert == MEANWHILE.insert => door.insert_there(open, visitor, data).await,
                _ => door.insert(visitor, data).await,
            }
        });
        let by_others = of_others.iter().map(|(user, data)| user.insert(&room, json!(data)));
        // At once: what is done in the moment in which something ends must be refused as well.
        let (_, said) = tokio::join!(join_all(by_others), join_all(by_doors));
        let [(_, of_acme), (_, of_globex)] = of_others;
        self.acme.push(of_acme);
        self.globex.push(of_globex);
        for (((door, cells), data), said) in rows.iter().zip(data).zip(said) {
            self.judge_insert(phase, *door, cells[phase.insert], data, said);
        }

        self.receive(rows, open, phase, (acme, globex)).await;
    }

    /// Whatever is open is read. `new` says where this phase begins.
    async fn receive(
        &mut self,
        rows: &[(Door, [Cell; 5])],
        open: &mut [Option<Open>],
        phase: Phase,
        new: (usize, usize),
    ) {
        let marker = format!("mark-{}", phase.name);
        for user in [&self.world.witness, &self.world.other] {
            user.insert(&self.visitor.mark, json!(marker)).await;
        }
        let receiving = open.iter_mut().map(|open| async {
            match open {
                Some(open) => open.receive(&marker).await,
                None => Received { data: Vec::new(), end: None },
            }
        });
        for ((door, cells), received) in rows.iter().zip(join_all(receiving).await) {
            self.judge_received(phase, *door, cells[phase.receive], received, new);
        }
    }

    /// An admin imports an event into the room of each tenant, and whatever is open is read.
    async fn import_and_receive(&mut self, rows: &[(Door, [Cell; 5])], open: &mut [Option<Open>]) {
        let new = (self.acme.len(), self.globex.len());
        let (room, client) = (&self.visitor.room, self.world.server.client());
        let line =
            |tenant: &str, data: &str| json!({ "kind": "event", "tenant_name": tenant, "event": room, "data": data });
        let lines = [line("acme", "imported"), line("globex", "imported into globex")];
        let (refused, summary) = import::outcome(import::import(&client, room, import::body(&lines)).await);
        assert_eq!((refused, &summary["imported"]), (vec![], &json!(2)));
        self.acme.push("imported".to_owned());
        self.globex.push("imported into globex".to_owned());
        self.receive(rows, open, MEANWHILE, new).await;
    }

    fn judge_insert(&mut self, phase: Phase, door: Door, expected: Cell, data: String, said: Said) {
        let said_ok = said.is_ok();
        let as_expected = match expected {
            Yes | Elsewhere => said_ok,
            No(codes) => is_one_of(&said, codes),
            Silent => false,
        };
        if !as_expected {
            self.fault(phase.name, door, "insert", expected, said);
        }
        // What it says is true, as its history shows in the end.
        if said_ok {
            let room = if expected == Elsewhere { &mut self.globex } else { &mut self.acme };
            room.push(data);
        }
    }

    /// All of this phase must have come, and nothing that is not in the room. `new` says where this phase begins.
    fn judge_received(&mut self, phase: Phase, door: Door, expected: Cell, received: Received, new: (usize, usize)) {
        let Received { mut data, end } = received;
        let (all, new): (&[String], _) = match expected {
            Yes => (&self.acme, new.0),
            Elsewhere => (&self.globex, new.1),
            Silent | No(_) => (&[], 0),
        };
        let missing: Vec<_> = all[new..].iter().filter(|text| !data.contains(text)).cloned().collect();
        let is_end_right = match expected {
            No(ways) => is_one_of(&end.clone().map_or(Ok(()), Err), ways),
            // What was refused may be closed.
            Silent if phase.receive == ANEW.receive => true,
            _ => end.is_none(),
        };
        let mut seen = BTreeSet::new();
        data.retain(|text| !all.contains(text) || !seen.insert(text.clone()));
        if !missing.is_empty() || !data.is_empty() || !is_end_right {
            let came = format!("{end:?} in the end, without {missing:?}, and with {data:?} or twice");
            self.fault(phase.name, door, "receive", expected, came);
        }
    }

    /// In each tenant is what was inserted there, and nothing else.
    async fn look_into_history(&mut self) {
        let World { witness, other, .. } = self.world;
        let found = [data_of(witness, &self.visitor.room).await, data_of(other, &self.visitor.room).await];
        for (found, expected) in found.into_iter().zip([&mut self.acme, &mut self.globex]) {
            expected.sort();
            if found != *expected {
                self.faults.push(format!("{:?}: there is {found:?}, but should be {expected:?}", self.condition));
            }
        }
    }
}

fn cells(condition: Condition, door: Door) -> [Cell; 5] {
    match row(condition, door) {
        Row::Is(cells) => *cells,
        Row::DoesNotApply(why) => panic!("{condition:?} at {door:?}: {why}"),
    }
}

/// The data of all events of a name, sorted.
async fn data_of(user: &User, name: &str) -> Vec<String> {
    let page = user.history(&format!("event={name}&limit=1000")).await;
    let mut data: Vec<String> = page.events.iter().map(|event| serde_json::from_str(&event.data).unwrap()).collect();
    data.sort();
    data
}
