//! The steps of the model: who does what, with which name, filter or scopes, and how much.

use super::*;

/// Something that happens.
#[derive(Clone, Copy)]
pub struct Step {
    what: usize,
    who: usize,
    which: usize,
    size: usize,
}

impl std::fmt::Debug for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}.{}", self.what, self.who, self.which, self.size)
    }
}

/// Any step.
pub fn step() -> impl Strategy<Value = Step> {
    (0..40_usize, 0..3_usize, 0..8_usize, 0..400_usize).prop_map(|(what, who, which, size)| Step {
        what,
        who,
        which,
        size,
    })
}

impl World {
    /// Has a step happen, and every client look at what came of it.
    pub async fn step(&mut self, step: Step) {
        let Step { what, who, which, size } = step;
        match what {
            0..=5 => {
                self.commit(|writing| {
                    for number in 0..=which % 4 {
                        let name = (who + which * number) % NAMES.len();
                        let big = if size % 4 == 0 { 90_000 } else { 300 };
                        match size % 5 {
                            0 => writing.remove(who % 2, name),
                            1 | 2 => writing.insert_transient(who % 2, name, big),
                            _ => writing.insert(who % 2, name, big),
                        }
                    }
                });
            }
            // More than a channel keeps.
            6 => {
                self.commit(|writing| {
                    (0..4).for_each(|number| match (size + number) % 3 {
                        0 => writing.insert_transient(who % 2, (which + number) % NAMES.len(), 90_000),
                        _ => writing.insert(who % 2, (which + number) % NAMES.len(), 90_000),
                    });
                });
            }
            7..=11 => self.publish(),
            12 => self.house.hub.before_push().close(),
            13 | 14 => self.house.hub.before_push().open(),
            15 | 16 => self.gate(who).close(),
            17 => self.gate(who).open(),
            18 => self.house.hub.after_step().close(),
            19 | 20 => self.house.hub.after_step().open(),
            21..=24 => self.open(who, which % 2, size * size * 2),
            25..=28 => self.clients[who].stream.iter().for_each(|stream| stream.line.give_room(size * size * 2)),
            29 => self.clients[who].leave(),
            30 | 31 => {
                let number = which % FILTERS.len();
                let filter = if size % 2 == 0 {
                    EventFilter::parse(FILTERS[number]).unwrap()
                } else {
                    topics(&[TOPIC_FILTERS[number]])
                };
                // To take everything out of a filter is of little use.
                self.change_filter(
                    who,
                    match (what, size / 2 % 3) {
                        (30, _) | (_, 0) => FilterChange::Replace(filter),
                        (_, 1) => FilterChange::Add(filter),
                        _ => FilterChange::Remove(filter),
                    },
                );
            }
            32 => self.change_user(who, |user| user.scopes = Some(scopes(which % SCOPES.len()))),
            33 => self.change_user(who, |user| user.tenant = TenantName::parse(TENANTS[which % 2]).unwrap()),
            34 | 35 if self.is_at_rest() => {
                let surplus = if size % 2 == 0 { usize::MAX } else { size % 40 };
                self.house.shorten_by(TENANTS[who % 2], surplus);
            }
            _ => rest_a_little(which).await,
        }
        if size % 4 == 0 {
            rest_a_little(1).await;
        }
        self.look();
    }
}
