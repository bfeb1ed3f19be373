//! How many lines of a kind there are in a while. Whoever floods a log that everybody shares hides what others do, and fills
//! its disk; and many lines are ones that anybody can cause, by sending garbage or guesses.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::fmt::Debug;
use std::hash::{Hash, Hasher};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use crate::domain::Network;

/// The target of lines about who was let in and who was not. They have an `address`, by which they are limited too.
pub const ACCESS: &str = "broker::access";
/// The target of lines about what an admin has done. There are as many as admins cause: none is left out.
pub const ADMIN: &str = "broker::admin";
/// The target of lines about the log itself.
pub const OF_THE_LOG: &str = "broker::log";

/// Lines of one kind that a library may write in a round.
const OF_A_LIBRARY: u32 = 10;
/// Lines of one kind that Broker itself may write in a round.
const OF_OURS: u32 = 100;
/// How many of them may be about one address.
const OF_AN_ADDRESS: u32 = 10;
/// How many kinds are told apart. Kinds are places in the code, so there are fewer.
const KINDS: usize = 1000;
/// How much of a line is kept to say what was left out, in characters.
const LIKE_CHARS: usize = 200;

/// Fields that tell lines from one place in the code apart: what [`ACCESS`] is about, and of which library a line is that comes
/// by the crate `log`, whose lines are all from one place.
const TELLING: [&str; 4] = ["door", "outcome", "log.target", "log.line"];

/// Leaves out what is too much since the last round. Lines below `info` are not counted: they are there for who asked for them.
#[derive(Clone, Default)]
pub struct Limits(Arc<Mutex<HashMap<u64, Kind>>>);

/// The lines of one kind.
struct Kind {
    level: Level,
    lines: u32,
    /// Of each address that a line was about.
    by_address: HashMap<Network, u32>,
    left_out: u64,
    /// The first that was left out, in short.
    like: String,
}

impl Limits {
    /// Begins a round, and tells what was left out of the one before.
    pub fn begin_anew(&self) {
        let before = std::mem::take(&mut *self.lock());
        for Kind { level, left_out, like, .. } in before.into_values().filter(|kind| kind.left_out > 0) {
            const WHAT: &str = "so many lines were left out that are like this one";
            // A level is a part of the place in the code.
            match level {
                Level::ERROR => tracing::error!(target: OF_THE_LOG, left_out, like, "{WHAT}"),
                Level::WARN => tracing::warn!(target: OF_THE_LOG, left_out, like, "{WHAT}"),
                _ => tracing::info!(target: OF_THE_LOG, left_out, like, "{WHAT}"),
            }
        }
    }

    /// Counts a line; whether it is written.
    fn lets_through(&self, event: &Event<'_>) -> bool {
        let metadata = event.metadata();
        if *metadata.level() > Level::INFO || [ADMIN, OF_THE_LOG].contains(&metadata.target()) {
            return true;
        }
        let mut traits = Traits::default();
        metadata.callsite().hash(&mut traits.kind);
        event.record(&mut traits);
        let is_ours = metadata.target() == "broker" || metadata.target().starts_with("broker::");
        let most = if is_ours { OF_OURS } else { OF_A_LIBRARY };

        let mut kinds = self.lock();
        let key = Some(traits.kind.finish()).filter(|key| kinds.len() < KINDS || kinds.contains_key(key));
        let kind = kinds.entry(key.unwrap_or_default()).or_insert_with(|| Kind {
            level: *metadata.level(),
            lines: 0,
            by_address: HashMap::new(),
            left_out: 0,
            like: String::new(),
        });
        let is_let_through = kind.lines < most
            && traits.address.is_none_or(|address| {
                let of_address = kind.by_address.entry(address).or_default();
                *of_address += 1;
                *of_address <= OF_AN_ADDRESS
            });
        if is_let_through {
            kind.lines += 1;
        } else {
            kind.left_out += 1;
            if kind.left_out == 1 {
                kind.like = traits.like.chars().take(LIKE_CHARS).collect();
            }
        }
        is_let_through
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Kind>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Subscriber> Layer<S> for Limits {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        self.lets_through(event)
    }
}

/// What is looked at of a line.
#[derive(Default)]
struct Traits {
    kind: DefaultHasher,
    address: Option<Network>,
    like: String,
}

impl Visit for Traits {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if is_looked_at(field) {
            self.record(field.name(), &format!("{value:?}"));
        }
    }

    // Without the quotes that `Debug` puts around it.
    fn record_str(&mut self, field: &Field, value: &str) {
        if is_looked_at(field) {
            self.record(field.name(), value);
        }
    }
}

fn is_looked_at(field: &Field) -> bool {
    matches!(field.name(), "address" | "message") || TELLING.contains(&field.name())
}

impl Traits {
    fn record(&mut self, name: &str, text: &str) {
        if name == "address" {
            // Those that are not known are one.
            self.address = Some(Network::of(text.parse().unwrap_or(Ipv4Addr::UNSPECIFIED.into())));
            return;
        }
        if name != "message" {
            text.hash(&mut self.kind);
        }
        if !self.like.is_empty() {
            self.like.push(' ');
        }
        self.like.push_str(text);
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    /// Keeps what was let through.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<String>>>);

    impl Kept {
        fn take(&self) -> Vec<String> {
            std::mem::take(&mut *self.0.lock().unwrap())
        }
    }

    impl<S: Subscriber> Layer<S> for Kept {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            let mut traits = Line(String::new());
            event.record(&mut traits);
            self.0.lock().unwrap().push(traits.0);
        }
    }

    struct Line(String);

    impl Visit for Line {
        fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
            self.0 += &format!("{}={value:?} ", field.name());
        }
    }

    /// Runs it with limits, and gives what was let through.
    fn limited(act: impl FnOnce(&Limits, &Kept)) {
        let (limits, kept) = (Limits::default(), Kept::default());
        let log = tracing_subscriber::registry().with(limits.clone()).with(kept.clone());
        tracing::subscriber::with_default(log, || act(&limits, &kept));
    }

    #[test]
    fn of_a_library_ten_lines_of_a_kind_are_written_and_then_how_many_were_left_out() {
        limited(|limits, kept| {
            for _ in 0..2 {
                for number in 0..529 {
                    tracing::error!(target: "actix_http", number, "garbage came");
                }
                tracing::error!(target: "actix_http", "something else");
                assert_eq!(kept.take().len(), OF_A_LIBRARY as usize + 1);
                limits.begin_anew();
                let told = kept.take();
                assert_eq!(told.len(), 1, "{told:?}");
                assert!(told[0].contains("left_out=519") && told[0].contains("garbage came"), "{told:?}");
            }
            limits.begin_anew();
            assert!(kept.take().is_empty(), "once");
        });
    }

    #[test]
    fn one_address_does_not_use_up_what_there_is_for_all() {
        limited(|limits, kept| {
            let guess = |address: &str, outcome: &str| {
                tracing::info!(target: ACCESS, door = "sign-in", address = address, outcome);
            };
            (0..1000).for_each(|host| guess(&format!("2001:db8::{host:x}"), "unauthorized"));
            assert_eq!(kept.take().len(), OF_AN_ADDRESS as usize, "a network of IPv6 is one address");
            guess("2001:db8::1", "ok");
            guess("192.0.2.1", "unauthorized");
            assert_eq!(kept.take().len(), 2);
            (0..1000).for_each(|host| guess(&format!("10.0.{}.{}", host / 256, host % 256), "unauthorized"));
            assert_eq!(kept.take().len(), (OF_OURS - OF_AN_ADDRESS - 1) as usize);
            limits.begin_anew();
            let told = kept.take();
            assert!(matches!(&told[..], [one] if one.contains("left_out=1901")), "{told:?}");
        });
    }

    #[test]
    fn what_an_admin_did_and_what_is_asked_for_is_not_left_out() {
        limited(|limits, kept| {
            for _ in 0..1000 {
                tracing::info!(target: ADMIN, address = "192.0.2.1", "a user was created");
                tracing::debug!(target: "actix_http", "as it was asked for");
            }
            limits.begin_anew();
            assert_eq!(kept.take().len(), 2000);
        });
    }

    #[test]
    fn lines_that_come_by_the_crate_log_are_told_apart_by_where_they_are_from() {
        limited(|_, kept| {
            for line in [1_u64, 2] {
                for _ in 0..50 {
                    tracing::warn!(target: "log", { log.target = "a_library::file", log.line = line }, "odd");
                }
            }
            assert_eq!(kept.take().len(), 2 * OF_A_LIBRARY as usize);
        });
    }
}
