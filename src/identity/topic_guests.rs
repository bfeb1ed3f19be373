use super::topics::{TopicPermit, TopicTokens, TopicUse};
use super::{Identity, Principal};
use crate::config::Notiflux;
use crate::domain::{
    EventFilter, EventName, Guest, GuestInsert, GuestRights, Pattern, Patterns, TenantName, Timestamp,
};
use crate::error::Error;

/// How many topics one connection may be subscribed to.
pub const MAX_TOPICS: usize = 1000;

impl Identity {
    /// Checks a token of notiflux for one use of a topic. It costs about a tenth of a millisecond.
    ///
    /// # Errors
    /// [`Error::NotFound`] if clients of notiflux are not served; [`Error::Unauthorized`] for a token that is expired, malformed or
    /// signed with another key; [`Error::TopicNotAllowed`] if it is for other topics or another use, or if the topic is an inbox;
    /// [`Error::EventNameInvalid`] and [`Error::EventNameReserved`] for a topic that no event can be called.
    pub fn topic_permit(&self, token: &str, topic: &str, to: TopicUse) -> Result<TopicPermit, Error> {
        self.topics()?.permit(token, topic, to, self.0.clock.now())
    }

    /// How clients of notiflux are served.
    ///
    /// # Errors
    /// [`Error::NotFound`] if they are not.
    pub fn notiflux(&self) -> Result<&Notiflux, Error> {
        Ok(&self.topics()?.settings)
    }

    /// Takes out the topics that have ended by now. Returns whether there was one.
    pub fn take_ended(&self, topics: &mut TopicSubscriptions) -> bool {
        topics.take_ended(self.0.clock.now())
    }

    fn topics(&self) -> Result<&TopicTokens, Error> {
        self.0.topics.as_ref().ok_or(Error::NotFound)
    }
}

impl TopicPermit {
    /// The guest who may send a message to the topic, until the token ends.
    ///
    /// # Errors
    /// [`Error::TopicNotAllowed`] if the permit is to subscribe.
    pub fn broadcaster(self) -> Result<Principal, Error> {
        if self.to != TopicUse::Broadcast {
            return Err(Error::TopicNotAllowed);
        }
        let rights = GuestRights { insert: GuestInsert::Of(exactly([self.topic])), ..GuestRights::default() };
        Ok(Guest::new((self.guest.0, &self.guest.1), self.tenant, rights, self.ends_at).into())
    }
}

/// The topics that one connection is subscribed to. Each has been permitted; who the guest is was said by the first token.
pub struct TopicSubscriptions {
    guest: (&'static str, Box<str>),
    tenant: TenantName,
    /// In order, with the end of each, if it ends before the connection does. Not in a map: nearly all connections have one topic, for
    /// which a map takes room for eleven.
    topics: Vec<(EventName, Option<Timestamp>)>,
}

impl TopicSubscriptions {
    /// Those of a connection with its first token, for no topic yet.
    pub fn of(first: &TopicPermit) -> Self {
        let TopicPermit { guest, tenant, .. } = first.clone();
        Self { guest, tenant, topics: Vec::new() }
    }

    /// Adds a topic. Returns whether it is a new one; of one that was there already, the later end counts.
    ///
    /// # Errors
    /// [`Error::TopicNotAllowed`] if the permit is to broadcast; [`Error::TooManyTopics`].
    pub fn add(&mut self, permit: TopicPermit) -> Result<bool, Error> {
        let TopicPermit { topic, to, ends_at, tenant, .. } = permit;
        if to != TopicUse::Subscribe || tenant != self.tenant {
            return Err(Error::TopicNotAllowed);
        }
        match self.find(topic.as_str()) {
            Ok(at) => {
                let (_, known) = &mut self.topics[at];
                // One that does not end is the latest end.
                *known = known.zip(ends_at).map(|(known, other)| known.max(other));
                Ok(false)
            }
            Err(_) if self.topics.len() >= MAX_TOPICS => Err(Error::TooManyTopics(MAX_TOPICS)),
            Err(at) => {
                if self.topics.is_empty() {
                    // Not for four, as a list grows by itself.
                    self.topics.reserve_exact(1);
                }
                self.topics.insert(at, (topic, ends_at));
                Ok(true)
            }
        }
    }

    /// Where a topic stands, or would.
    fn find(&self, topic: &str) -> Result<usize, usize> {
        self.topics.binary_search_by(|(known, _)| known.as_str().cmp(topic))
    }

    /// Takes a topic out. Returns whether it was there.
    pub fn remove(&mut self, topic: &str) -> bool {
        self.find(topic).map(|at| self.topics.remove(at)).is_ok()
    }

    /// Takes all topics out. Returns whether there was one.
    pub fn clear(&mut self) -> bool {
        !std::mem::take(&mut self.topics).is_empty()
    }

    /// Takes out the topics that have ended by now. Returns whether there was one.
    fn take_ended(&mut self, now: Timestamp) -> bool {
        let before = self.topics.len();
        self.topics.retain(|(_, end)| end.is_none_or(|end| now < end));
        self.topics.len() < before
    }

    /// Whether there is a topic that ends.
    pub fn can_end(&self) -> bool {
        self.topics.iter().any(|(_, end)| end.is_some())
    }

    /// Whether there is no topic.
    pub fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    /// The guest, who may see these topics and no others.
    pub fn guest(&self) -> Principal {
        let rights = GuestRights { see: exactly(self.names()), ..GuestRights::default() };
        Guest::new((self.guest.0, &self.guest.1), self.tenant.clone(), rights, None).into()
    }

    /// The topics, and nothing else.
    pub fn filter(&self) -> EventFilter {
        EventFilter::names(self.names())
    }

    fn names(&self) -> impl Iterator<Item = EventName> {
        self.topics.iter().map(|(topic, _)| topic.clone())
    }
}

/// Patterns that match these topics alone.
pub(super) fn exactly(topics: impl IntoIterator<Item = EventName>) -> Patterns {
    Patterns::new(topics.into_iter().map(Pattern::Exact).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Authorize;

    fn permit(topic: &str, to: TopicUse, ends_at: Option<u64>) -> TopicPermit {
        let (tenant, topic) = (TenantName::parse("acme").unwrap(), EventName::parse(topic).unwrap());
        TopicPermit::new(("notiflux", "bob"), tenant, topic, to, ends_at.map(Timestamp::from_millis))
    }

    fn until(topic: &str, ends_at: u64) -> TopicPermit {
        permit(topic, TopicUse::Subscribe, Some(ends_at))
    }

    #[test]
    fn the_guest_sees_the_topics_that_were_permitted_until_each_ends_and_inserts_nothing() {
        let mut topics = TopicSubscriptions::of(&until("a", 1000));
        assert_eq!((topics.add(until("a", 1000)), topics.add(until("b", 5000))), (Ok(true), Ok(true)));
        assert_eq!(topics.add(until("a", 3000)), Ok(false), "the later end counts");
        assert_eq!(topics.add(permit("c", TopicUse::Broadcast, None)), Err(Error::TopicNotAllowed));
        let sees = |topics: &TopicSubscriptions, name: &str| {
            let guest = topics.guest();
            let (rights, _) = guest.account.scopes.to_see(Authorize::Open, &guest.username);
            let inserts = guest.account.scopes.to_insert(Authorize::Open, &guest.username);
            assert!(!inserts.allows(&EventName::parse(name).unwrap()));
            assert_eq!(rights.allow(name), topics.filter().matches(name));
            rights.allow(name)
        };
        assert!(sees(&topics, "a") && sees(&topics, "b") && !sees(&topics, "c"));
        assert!(!topics.take_ended(Timestamp::from_millis(2999)));
        assert!(topics.take_ended(Timestamp::from_millis(3000)) && !sees(&topics, "a") && sees(&topics, "b"));
        assert_eq!(topics.add(permit("b", TopicUse::Subscribe, None)), Ok(false));
        assert!(!topics.can_end() && topics.remove("b") && topics.is_empty());
    }

    #[test]
    fn who_broadcasts_is_a_guest_with_that_topic_until_the_permit_ends() {
        assert_eq!(until("news", 5).broadcaster().map(drop), Err(Error::TopicNotAllowed));
        let (tenant, topic) = (TenantName::parse("acme").unwrap(), EventName::parse("news").unwrap());
        let ends_at = Some(Timestamp::from_millis(5));
        let permit = TopicPermit::new(("notiflux", "a\nb"), tenant, topic, TopicUse::Broadcast, ends_at);
        let guest = permit.broadcaster().unwrap();
        assert_eq!(guest.expires_at, ends_at);
        assert!(guest.is_guest() && guest.username.as_str().starts_with("notiflux::"));
        let inserts = guest.account.scopes.to_insert(Authorize::Open, &guest.username);
        let may_insert = |name: &str| inserts.allows(&EventName::parse(name).unwrap());
        assert!(may_insert("news") && !may_insert("other"));
    }

    #[test]
    fn a_connection_has_at_most_a_thousand_topics() {
        let mut topics = TopicSubscriptions::of(&until("t0", 1));
        assert_eq!(
            (topics.add(until("t0", 1)), topics.topics.capacity()),
            (Ok(true), 1),
            "room for more comes with more"
        );
        assert!(topics.remove("t0"));
        assert!((0..MAX_TOPICS).all(|number| topics.add(until(&format!("t{number}"), 1)) == Ok(true)));
        assert_eq!(topics.add(until("more", 1)), Err(Error::TooManyTopics(MAX_TOPICS)));
        assert_eq!(topics.add(until("t0", 1)), Ok(false));
    }
}
