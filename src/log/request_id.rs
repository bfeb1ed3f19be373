//! The id of a request, by which its answer and its lines in the log are found together.

use std::cell::Cell;
use std::collections::hash_map::RandomState;
use std::future::Future;
use std::hash::BuildHasher;
use std::ops::Deref;
use std::sync::Arc;

use futures_util::future::Either;

/// How long an id of a proxy may be, in bytes.
const MAX_BYTES: usize = 128;

tokio::task_local! {
    static CURRENT: RequestId;
}

/// The id of a request; of a connection that it opened, too, and of a connection of MQTT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(Arc<str>);

impl RequestId {
    /// A new id. It tells nothing of other requests, and needs no system call.
    pub fn random() -> Self {
        thread_local! {
            static SOURCE: (RandomState, Cell<u64>) = (RandomState::new(), Cell::new(0));
        }
        let number = SOURCE.with(|(state, count)| {
            count.set(count.get().wrapping_add(1));
            state.hash_one(count.get())
        });
        Self(format!("{number:016x}").into())
    }

    /// The id that a proxy gave: 1 to 128 letters, digits and some signs, so that it means nothing in a log or a header.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:=+/".contains(byte);
        let fits = (1..=MAX_BYTES).contains(&text.len()) && text.iter().all(is_plain);
        std::str::from_utf8(text).ok().filter(|_| fits).map(|text| Self(text.into()))
    }

    /// The id of the request that is worked on, where this is called.
    pub fn current() -> Option<Self> {
        CURRENT.try_with(Clone::clone).ok()
    }

    /// Calls a function in the name of this request.
    pub fn within<T>(&self, act: impl FnOnce() -> T) -> T {
        CURRENT.sync_scope(self.clone(), act)
    }

    /// Work in the name of this request.
    pub fn around<F: Future>(self, work: F) -> impl Future<Output = F::Output> {
        CURRENT.scope(self, work)
    }

    /// Work that goes on after the request that is worked on, in its name.
    pub fn keep<F: Future>(work: F) -> impl Future<Output = F::Output> {
        match Self::current() {
            Some(id) => Either::Left(CURRENT.scope(id, work)),
            None => Either::Right(work),
        }
    }
}

impl Deref for RequestId {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn ids_differ_also_between_threads() {
        let some = || (0..1000).map(|_| RequestId::random().to_string()).collect::<Vec<_>>();
        let (one, other) = (std::thread::spawn(some), std::thread::spawn(some));
        let all: BTreeSet<_> = [some(), one.join().unwrap(), other.join().unwrap()].concat().into_iter().collect();
        assert!(all.len() == 3000 && all.iter().all(|id| id.len() == 16), "{}", all.len());
    }

    #[test]
    fn the_id_of_a_proxy_has_no_sign_that_means_something_elsewhere() {
        for good in ["a", "0af7651916cd43dd8448eb211c80319c", "a-b_c.d:e=f+g/h", &"x".repeat(128)] {
            assert_eq!(RequestId::parse(good.as_bytes()).as_deref(), Some(good));
        }
        for bad in ["", "a b", "a\"b", "a\nb", "a,b", "a;b", "ä", "a\0", &"x".repeat(129)] {
            assert_eq!(RequestId::parse(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[tokio::test]
    async fn work_has_the_id_of_its_request_and_so_has_what_goes_on_after_it() {
        let id = RequestId::random();
        let keep = || RequestId::keep(async { RequestId::current() });
        let kept = id.clone().around(std::future::ready(()).map(|()| keep())).await;
        assert_eq!(RequestId::current(), None);
        assert_eq!(tokio::spawn(kept).await.unwrap(), Some(id.clone()));
        assert_eq!(id.within(RequestId::current), Some(id));
    }
}
