//! Guards the ways in: whatever comes about, no door lets in somebody whom another one would not, and no stream goes on that should not.

mod condition;
mod door;
mod open;
mod session;
mod table;
mod visitor;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;

use condition::Condition;
use door::{Attempt, Door, Said};
use open::{Open, Received};
use table::Cell::{self, Elsewhere, No, Silent, Yes};
use table::{Row, row};
use visitor::{Visitor, World};

use crate::support::{User, in_time};

/// A stream ends within a second of what ends it. A busy machine gets more; one that found out only at its next heartbeat would take
/// 12 s.
const PROMPTLY: Duration = Duration::from_secs(8);

#[tokio::test]
async fn no_way_in_is_a_bypass_whatever_comes_about() {
    let world = World::start().await;
    let cases = condition::ALL.iter().map(|condition| async {
        in_time("a token that is short", async || Case::judge(&world, *condition).await).await
    });
    let faults: Vec<_> = join_all(cases).await.into_iter().flatten().collect();
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

const BEFORE: Phase = Phase { name: "before", receive: 0, insert: 1 };
const MEANWHILE: Phase = Phase { name: "meanwhile", receive: 0, insert: 1 };
const ANEW: Phase = Phase { name: "anew", receive: 3, insert: 4 };

impl<'a> Case<'a> {
    /// Lets the visitor come to all doors before and after. Returns what is not as it is expected; `None` if it took too long.
    async fn judge(world: &'a World, condition: Condition) -> Option<Vec<String>> {
        let visitor = condition.visitor(world).await;
        let mut case = Self { world, condition, visitor, acme: Vec::new(), globex: Vec::new(), faults: Vec::new() };
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
            let as_expected = match cells[2] {
                No(codes) => is_one_of(&said, codes),
                _ => said.is_ok(),
            };
            if !as_expected {
                self.fault(phase, *door, "subscribe", cells[2], said);
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

        let marker = format!("mark-{name}");
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
            self.judge_received(phase, *door, cells[phase.receive], received, (acme, globex));
        }
    }

    fn judge_insert(&mut self, phase: Phase, door: Door, expected: Cell, data: String, said: Said) {
        let as_expected = match expected {
            Yes => said.is_ok(),
            Elsewhere => said.is_ok(),
            No(codes) => is_one_of(&said, codes),
            Silent => false,
        };
        if !as_expected {
            self.fault(phase.name, door, "insert", expected, said);
        }
        match expected {
            Yes => self.acme.push(data),
            Elsewhere => self.globex.push(data),
            No(_) | Silent => {}
        }
    }

    /// All of this phase must have come, and nothing that is not in the room. `new` says where this phase begins.
    fn judge_received(&mut self, phase: Phase, door: Door, expected: Cell, received: Received, new: (usize, usize)) {
        let Received { data, end } = &received;
        let all_of = |room: &[String], new: usize| {
            let has = |text: &String| data.contains(text);
            end.is_none() && room[new..].iter().all(has) && data.iter().all(|text| room.contains(text))
        };
        let as_expected = match expected {
            Yes => all_of(&self.acme, new.0),
            Elsewhere => all_of(&self.globex, new.1),
            // What was refused may be closed.
            Silent => data.is_empty() && (end.is_none() || phase.receive == ANEW.receive),
            No(how) => data.is_empty() && end.as_deref() == Some(how),
        };
        let is_once = data.iter().collect::<BTreeSet<_>>().len() == data.len();
        if !as_expected || !is_once {
            self.fault(phase.name, door, "receive", expected, (received.data, received.end));
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

/// Whether something was refused, by one of these codes.
fn is_one_of(said: &Said, codes: &str) -> bool {
    said.as_ref().is_err_and(|said| codes.split(" or ").any(|code| code == said))
}

/// The data of all events of a name, sorted.
async fn data_of(user: &User, name: &str) -> Vec<String> {
    let page = user.history(&format!("event={name}&limit=1000")).await;
    let mut data: Vec<String> = page.events.iter().map(|event| serde_json::from_str(&event.data).unwrap()).collect();
    data.sort();
    data
}
