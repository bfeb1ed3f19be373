//! What a client subscribes to, and no longer.

use super::doing::Doing;
use super::filters::{Wanted, gives_retained};
use super::keeping::{Keeper, kept_subscription};
use super::outbound::Outbound;
use super::packet::{Qos, Reason, Subscribe, Subscription, Unsubscribe};
use crate::app::App;
use crate::domain::{EventFilter, FilterChange, TopicFilter};
use crate::events::{MqttSessionChange, StreamId};
use crate::identity::Principal;

/// Adds filters.
pub fn subscribe(
    (app, principal, stream): (&App, &Principal, StreamId),
    keeper: &Keeper,
    outbound: &mut Outbound,
    Subscribe { packet_id: id, subscription_id, subscriptions }: Subscribe,
) -> Doing {
    let (mut added, mut given, mut kept) = (Vec::new(), Vec::new(), Vec::new());
    let mut add = |subscription: Subscription| -> Result<Qos, Reason> {
        let Subscription { filter, qos, no_local, retain_as_published, retain_handling } = subscription;
        let filter = admit(app, principal, outbound, &filter)?;
        let since = app.events.head();
        let wanted = Wanted { filter: filter.clone(), qos, no_local, retain_as_published, id: subscription_id, since };
        kept.push(kept_subscription(&wanted));
        let is_new = outbound.filters.put(wanted);
        if gives_retained(retain_handling, is_new) {
            given.push(filter.clone());
        }
        added.push(filter);
        Ok(qos)
    };
    let mut results: Vec<_> = subscriptions.into_iter().map(&mut add).collect();
    if added.is_empty() {
        return Doing::Subscribe { id, results, changing: None, kept: None, keeping: None };
    }
    let (add, give) = (EventFilter::topics(added), EventFilter::topics(given));
    let changing = match (add, give) {
        (Ok(add), Ok(give)) => {
            app.events.change_filter(principal, stream, FilterChange::Subscribe { add, give }).map_err(|_| ())
        }
        _ => Err(()),
    };
    if changing.is_err() {
        results.iter_mut().for_each(|result| *result = result.and(Err(Reason::QuotaExceeded)));
    }
    let kept = keeper.kept().map(|_| MqttSessionChange::Subscribe(kept));
    Doing::Subscribe { id, results, changing: changing.ok(), kept, keeping: None }
}

/// Whether a filter can be added (MQTT 5.0, 3.9.3).
fn admit(app: &App, principal: &Principal, outbound: &Outbound, text: &str) -> Result<TopicFilter, Reason> {
    if text.starts_with("$share/") {
        return Err(Reason::SharedSubscriptionsNotSupported);
    }
    let filter = TopicFilter::parse(text).ok_or(Reason::TopicFilterInvalid)?;
    let most = app.mqtt.as_ref().map_or(0, |mqtt| mqtt.filters);
    if outbound.filters.len() >= most && !outbound.filters.contains(&filter) {
        return Err(Reason::QuotaExceeded);
    }
    if app.events.may_subscribe(principal, &filter) { Ok(filter) } else { Err(Reason::NotAuthorized) }
}

/// Takes filters out.
pub fn unsubscribe(
    (app, principal, stream): (&App, &Principal, StreamId),
    keeper: &Keeper,
    outbound: &mut Outbound,
    Unsubscribe { packet_id: id, filters }: Unsubscribe,
) -> Doing {
    let mut removed = Vec::new();
    let mut remove = |text: String| match TopicFilter::parse(&text) {
        Some(filter) if outbound.filters.remove(&filter) => {
            removed.push(filter);
            Reason::Success
        }
        _ => Reason::NoSubscriptionExisted,
    };
    let reasons = filters.into_iter().map(&mut remove).collect();
    let texts = removed.iter().map(|filter: &TopicFilter| filter.as_str().into()).collect();
    let keeping = match removed.is_empty() {
        true => None,
        // If nothing more can be written now, the subscription comes back with the session, and is taken out again.
        false => keeper.change(MqttSessionChange::Unsubscribe(texts)).ok().flatten(),
    };
    let change = (!removed.is_empty()).then(|| EventFilter::topics(removed)).and_then(Result::ok);
    let changing =
        change.and_then(|filter| app.events.change_filter(principal, stream, FilterChange::Remove(filter)).ok());
    Doing::Unsubscribe { id, reasons, changing, keeping }
}
