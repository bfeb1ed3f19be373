//! Limits per kind of line. A client that floods the log would hide what others do, and fill the disk. Anybody can
//! cause many kinds of lines, by sending garbage or guesses.

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

/// The target of lines about authentication. They have an `address`, and are limited by it, too.
pub const ACCESS: &str = "broker::access";
/// The target of lines about admin actions. Only admins can cause them, so they are not limited.
pub const ADMIN: &str = "broker::admin";
/// The target of lines about the log itself.
pub const OF_THE_LOG: &str = "broker::log";

/// Lines of one kind that a library may write per round.
const OF_A_LIBRARY: u32 = 10;
/// Lines of one kind that Broker itself may write per round.
const OF_OURS: u32 = 100;
/// How many of them may be about one address.
const OF_AN_ADDRESS: u32 = 10;
/// How many kinds are told apart. A kind is a place in the code, so there are fewer.
const KINDS: usize = 1000;
/// How many characters of a line are kept as an example of what was left out.
const LIKE_CHARS: usize = 200;

/// Fields that tell apart lines from one place in the code: the kind and the result of [`ACCESS`] lines, and the
/// library of lines from the crate `log`, which all come from one place.
const TELLING: [&str; 4] = ["door", "outcome", "log.target", "log.line"];

/// A filter that leaves out lines beyond the limits of a round. Lines below `info` are not counted, because they are
/// written only on request.
#[derive(Clone, Default)]
pub struct Limits(Arc<Mutex<HashMap<u64, Kind>>>);

/// The lines of one kind.
struct Kind {
    level: Level,
    lines: u32,
    /// How many lines were about each address.
    by_address: HashMap<Network, u32>,
    left_out: u64,
    /// A shortened example of the lines that were left out.
    like: String,
}

impl Limits {
    /// Begins a round, and reports what was left out in the previous one.
    pub fn begin_anew(&self) {
        let before = std::mem::take(&mut *self.lock());
        for Kind { level, left_out, like, .. } in before.into_values().filter(|kind| kind.left_out > 0) {
            const WHAT: &str = "so many lines were left out that are like this one";
            // The level belongs to the place in the code.
            match level {
                Level::ERROR => tracing::error!(target: OF_THE_LOG, left_out, like, "{WHAT}"),
                Level::WARN => tracing::warn!(target: OF_THE_LOG, left_out, like, "{WHAT}"),
                _ => tracing::info!(target: OF_THE_LOG, left_out, like, "{WHAT}"),
            }
        }
    }

    /// Counts a line. Returns whether it is written.
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

/// The fields of a line that matter for its limits.
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

    // Without the quotes that `Debug` writes around it.
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
            // All unknown addresses count as one.
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

    /// Keeps the lines that passed the limits.
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

    /// Runs a function with limits, and gives it the lines that passed.
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
    fn one_address_does_not_use_up_the_limit_of_all() {
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
    fn admin_actions_and_requested_debug_lines_are_never_left_out() {
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
    fn lines_of_the_crate_log_are_told_apart_by_their_library() {
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
