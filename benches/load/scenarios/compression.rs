//! Events of 2 KiB to ten thousand subscribers over WebSocket, with and without compression (RFC 7692): the bytes on the
//! wire, and the server's CPU. Each event is compressed once, for all.

use std::time::Duration;

use super::side::{Side, compete};
use crate::Result;
use crate::crowd::Audience;
use crate::lab::Lab;
use crate::statistics::{bytes, nanos};
use crate::table::Row;
use crate::targets::{broker_v1::Task, doors::Door};

const ROUND: Duration = Duration::from_secs(2);
const SUBSCRIBERS: usize = 10_000;

/// Runs this scenario.
pub fn run(lab: &mut Lab) -> Result<()> {
    let audience = Audience::of_one_room(SUBSCRIBERS, 2);
    let doors = [true, false].map(|compressed| Door::WebSocket(Task::Large { compressed }));
    let mut sides = Vec::new();
    for door in &doors {
        sides.push(Side::start(lab, door, &audience)?);
    }
    let scores = compete(lab, &mut sides, 1, ROUND)?;
    if let [with, without] = &scores[..] {
        let what = format!("{}, events of 2 KiB to {SUBSCRIBERS} subscribers", with.name);
        let ratio = with.bytes.median() / without.bytes.median();
        let row = Row::new(format!("{what}: bytes per delivery"), with.bytes.show(bytes));
        lab.table.add(row.beside(format!("without {}", without.bytes.show(bytes)), ratio));
        let ratio = with.cost.median() / without.cost.median();
        let row = Row::new(format!("{what}: server CPU per delivery"), with.cost.show(nanos));
        lab.table.add(row.beside(format!("without {}", without.cost.show(nanos)), ratio));
    }
    sides.into_iter().try_for_each(Side::finish)
}
