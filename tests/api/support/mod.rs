//! A server that runs, clients that talk to it, and streams that can be awaited.

mod accounts;
mod activated;
mod authority;
mod busy;
mod client;
mod disk;
mod earlier;
mod idle;
mod kept;
mod left_out;
pub mod mqtt;
mod network;
mod program;
mod raw;
mod raw_socket;
mod restarts;
mod scrape;
mod seen;
mod server;
mod session;
mod signer;
mod socket;
mod stream;
mod topics;
mod user;

pub use accounts::{by_password, claims, forge, reset, reset_code, revoke, unrevoke, until_soon, update};
pub use activated::activated;
pub use authority::{Authority, connect_trusting};
pub use busy::{in_time, until_throttled, within_the_grace};
pub use client::{Answer, Client};
pub use disk::LoopDisk;
pub use earlier::earlier_password;
pub use idle::{connect_from, too_many_end};
pub use kept::{Kept, Page, Receipt, bad_request, current, names, one, transient};
pub use left_out::cannot_run;
pub use network::Network;
pub use program::Saying;
pub use raw::RawStream;
pub use raw_socket::{RawSocket, bomb, frame, handshake, send_all, text_frame};
pub use restarts::restart_often;
pub use scrape::Scrape;
pub use seen::{
    change, current_of, insert_big, insert_large, insert_names, kept, listed, missing, move_to, pairs, set_scopes,
    subscribe, text, until_gone, user_with,
};
pub use server::{
    ADMIN_TOKEN, JWT_SECRET, TestServer, bare_command, by_shell, command, with_descriptors, without_settings,
};
pub use session::Session;
pub use signer::Signer;
pub use socket::Socket;
pub use stream::{Event, Stream};
pub use topics::TopicClient;
pub use user::{Body, User, after_kill, again};

use std::future::Future;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// How long anything may take before the test gives up. No test depends on it being short.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Awaits something that must happen.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

/// Awaits something that nothing announces: asks until there is an answer.
pub async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    within(what, async {
        loop {
            if let Some(found) = ask().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
}

/// Awaits a condition that nothing announces.
pub async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    until(what, async || condition().then_some(())).await;
}

/// A port that nobody has now.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A password that no log may ever show: the server's log is searched for the beginning of it.
pub fn password_of(username: &str) -> String {
    format!("pw-secret-{username}")
}

/// As many descriptors as this process may have, for a test that connects often.
pub fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).unwrap();
}

/// An id of the same place in another database.
pub fn foreign(id: &str) -> String {
    let (position, database) = id.split_at(16);
    format!("{position}{:06}", (database.parse::<u32>().unwrap() + 1) % 1_000_000)
}
