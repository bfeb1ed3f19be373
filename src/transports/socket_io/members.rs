//! The namespaces that a session has joined.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::packet::Json;
use super::types::Types;

/// Maximum number of namespaces that a session joins.
pub const MAX_NAMESPACES: usize = 16;
/// Maximum number of answers that a socket is waited for. The oldest question goes unanswered.
const MAX_ASKED: usize = 64;

/// A session's membership in a namespace.
pub struct Member<T: Types> {
    /// The namespace.
    pub namespace: Box<str>,
    /// What others may know the socket by.
    pub id: Box<str>,
    /// Whether its client takes a text at the end of an event for an offset.
    pub keeps_offset: bool,
    /// What the application keeps of it.
    pub state: T::State,
}

/// The answer of a client to an event.
#[derive(Debug)]
pub struct Answer {
    /// What the client says. Where something is or has a binary value, there is a placeholder.
    pub args: Vec<Json>,
    /// The binary values, by the numbers in the placeholders.
    pub attachments: Vec<Bytes>,
}

/// The memberships of a session.
pub struct Members<T: Types>(Vec<Entry<T>>);

struct Entry<T: Types> {
    member: Arc<Member<T>>,
    /// In a box, since most sockets are asked nothing.
    asked: Option<Box<Asked>>,
}

/// The events that a client has yet to answer.
#[derive(Default)]
struct Asked {
    next: u64,
    waiting: HashMap<u64, oneshot::Sender<Answer>>,
}

impl<T: Types> Default for Members<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Types> Members<T> {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether there may be no more.
    pub fn is_full(&self) -> bool {
        self.0.len() >= MAX_NAMESPACES
    }

    /// The membership in a namespace.
    pub fn get(&self, namespace: &str) -> Option<&Arc<Member<T>>> {
        self.0.iter().map(|entry| &entry.member).find(|member| *member.namespace == *namespace)
    }

    /// Whether this one is still there.
    pub fn has(&self, member: &Arc<Member<T>>) -> bool {
        self.0.iter().any(|entry| Arc::ptr_eq(&entry.member, member))
    }

    /// Adds one to a namespace that has none yet.
    pub fn add(&mut self, member: Arc<Member<T>>) {
        if self.0.is_empty() {
            // Not for four, as a list grows by itself: most clients join one.
            self.0.reserve_exact(1);
        }
        self.0.push(Entry { member, asked: None });
    }

    /// Removes the membership in a namespace.
    pub fn remove(&mut self, namespace: &str) -> Option<Self> {
        let at = self.0.iter().position(|entry| *entry.member.namespace == *namespace)?;
        Some(Self(vec![self.0.swap_remove(at)]))
    }

    /// Notes that a client is to answer an event. Returns the event's id, and what becomes the answer.
    pub fn ask(&mut self, member: &Arc<Member<T>>) -> Option<(u64, oneshot::Receiver<Answer>)> {
        let entry = self.0.iter_mut().find(|entry| Arc::ptr_eq(&entry.member, member))?;
        let asked = entry.asked.get_or_insert_default();
        asked.waiting.retain(|_, answer| !answer.is_closed());
        if asked.waiting.len() >= MAX_ASKED
            && let Some(oldest) = asked.waiting.keys().min().copied()
        {
            asked.waiting.remove(&oldest);
        }
        let (sender, receiver) = oneshot::channel();
        let id = asked.next;
        asked.next += 1;
        asked.waiting.insert(id, sender);
        Some((id, receiver))
    }

    /// Takes the answer to an event; one that nobody asked for is ignored. Returns whether the session is in the namespace.
    pub fn answer(&mut self, namespace: &str, id: u64, answer: Answer) -> bool {
        let Some(entry) = self.0.iter_mut().find(|entry| *entry.member.namespace == *namespace) else { return false };
        if let Some(sender) = entry.asked.as_mut().and_then(|asked| asked.waiting.remove(&id)) {
            // Nobody may wait for it any more.
            let _ = sender.send(answer);
        }
        true
    }
}
