//! One event to ten thousand subscribers that may all read it, with ten sets of scopes among them, compared with the
//! same with one set. Access has to be decided once per set of scopes, not once per subscriber.

use std::time::Duration;

use super::side::{Side, compete};
use crate::Result;
use crate::crowd::Audience;
use crate::lab::Lab;
use crate::statistics::nanos;
use crate::table::Row;
use crate::targets::broker::Scoped;

const ROUND: Duration = Duration::from_secs(2);
const SUBSCRIBERS: usize = 10_000;
const GOAL: f64 = 1.2;

/// Runs this scenario.
pub fn run(lab: &mut Lab) -> Result<()> {
    let audience = Audience::of_one_room(SUBSCRIBERS, 2);
    let one = Scoped { name: "one set of scopes", sets: 1 };
    let ten = Scoped { name: "ten sets of scopes", sets: 10 };
    let mut sides = vec![Side::start(lab, &one, &audience)?, Side::start(lab, &ten, &audience)?];
    let scores = compete(lab, &mut sides, 1, ROUND)?;
    if let [one, ten] = &scores[..] {
        let ratio = ten.cost.median() / one.cost.median();
        let what = format!("{SUBSCRIBERS} subscribers, {}: server CPU per delivery", ten.name);
        let row = Row::new(what, ten.cost.show(nanos)).beside(format!("{} {}", one.name, one.cost.show(nanos)), ratio);
        lab.table.add(row.goal(format!("<= {GOAL} x"), ratio <= GOAL));
    }
    sides.into_iter().try_for_each(Side::finish)
}
