//! What a client subscribes to, and no longer.

use std::cell::LazyCell;
use std::collections::{BTreeMap, HashMap};

use super::doing::{Doing, Refilter};
use super::filters::{Wanted, gives_retained};
use super::keeping::{Keeper, kept_share, kept_subscription};
use super::log;
use super::outbound::{Outbound, is_sys};
use super::packet::{Reason, Subscribe, Subscription, Unsubscribe};
use super::shares::Options;
use crate::app::{App, Readable};
use crate::domain::{EventFilter, FilterChange, MqttAsk, SharedFilter, TopicFilter};
use crate::events::MqttSessionChange;
use crate::identity::Principal;

/// Adds filters.
pub fn subscribe(
    app: &App,
    principal: &Principal,
    keeper: &mut Keeper,
    outbound: &mut Outbound,
    Subscribe { packet_id: id, subscription_id, subscriptions }: Subscribe,
) -> Doing {
    let (mut added, mut given, mut new) = (Vec::new(), Vec::new(), Vec::new());
    let mut kept = BTreeMap::new();
    let readable = LazyCell::new(|| app.events.readable(principal));
    let (mut number, mut is_saved_before, mut before) = (None, false, Vec::new());
    // Everything up to here comes as retained, if it is given, and everything later as it comes.
    let since = app.events.head();
    let mut add = |subscription: &Subscription| -> Result<(), Reason> {
        let Subscription { ref filter, qos, no_local, retain_as_published, retain_handling } = *subscription;
        if filter.starts_with(SharedFilter::BEGINNING) {
            let options = Options { qos, retain_as_published, id: subscription_id };
            if share(app, principal, readable.as_ref(), outbound, filter, options)? {
                new.push(filter.as_str().into());
            }
            kept.insert(filter.clone(), kept_share(filter.as_str().into(), options, since));
            return Ok(());
        }
        let filter = admit(app, principal, readable.as_ref(), outbound, filter)?;
        let known = outbound.filters.get(&filter).cloned();
        let is_new = known.is_none();
        before.extend(known);
        let is_given = gives_retained(retain_handling, is_new);
        let mut asked = MqttAsk::default();
        if is_sys(&filter) {
            outbound.begin_sys(is_given.then(|| filter.clone()));
        } else if is_given {
            asked = MqttAsk { number: *number.get_or_insert_with(|| outbound.ask()), until: since };
            given.push(filter.clone());
        }
        let id = subscription_id;
        let wanted = Wanted { filter: filter.clone(), qos, no_local, retain_as_published, id, since, asked };
        kept.insert(filter.as_str().to_owned(), kept_subscription(&wanted));
        is_saved_before |= outbound.is_saved_before(&filter, qos);
        outbound.filters.put(wanted);
        if is_new {
            new.push(filter.as_str().into());
        }
        added.push(filter);
        Ok(())
    };
    // Of a filter that comes more than once, the last one counts: a packet has room for 25,000 of them.
    let last: HashMap<_, _> = subscriptions.iter().map(|one| (one.filter.as_str(), one)).collect();
    let mut outcomes = HashMap::with_capacity(last.len());
    let mut results = Vec::with_capacity(subscriptions.len());
    for one in &subscriptions {
        let filter = one.filter.as_str();
        let outcome = outcomes.entry(filter).or_insert_with(|| add(last.get(filter).copied().unwrap_or(one)));
        if let Err(reason) = outcome {
            log::not_granted(principal, filter, *reason);
        }
        results.push(outcome.map(|()| one.qos));
    }
    outbound.count_subscriptions();
    if kept.is_empty() {
        return Doing::Subscribe { id, results, change: None, new, before };
    }
    if is_saved_before {
        outbound.set_saved();
        keeper.save(outbound.progress());
    }
    let change = match (EventFilter::topics(added), EventFilter::topics(given)) {
        (Ok(add), Ok(give)) => {
            let change = FilterChange::Subscribe { add, give, until: since, number: number.unwrap_or(0) };
            Some(Refilter::begin(keeper, MqttSessionChange::Subscribe(kept.into_values().collect()), change))
        }
        // There are no more than a connection may have.
        _ => None,
    };
    if change.is_none() {
        results.iter_mut().for_each(|result| *result = result.and(Err(Reason::QuotaExceeded)));
        take_out(outbound, &std::mem::take(&mut new));
        before.drain(..).for_each(|wanted| outbound.filters.restore(wanted));
    }
    Doing::Subscribe { id, results, change, new, before }
}

/// Whether a filter can be added (MQTT 5.0, 3.9.3), of a client that may read this, if anything.
fn admit(
    app: &App,
    principal: &Principal,
    readable: Option<&Readable>,
    outbound: &Outbound,
    text: &str,
) -> Result<TopicFilter, Reason> {
    let filter = TopicFilter::parse(text).ok_or(Reason::TopicFilterInvalid)?;
    if is_full(app, outbound) && !outbound.filters.contains(&filter) {
        return Err(Reason::QuotaExceeded);
    }
    // What the server says of itself is for handlers.
    let may = if is_sys(&filter) { principal.is_mqtt_handler() } else { may_subscribe(readable, &filter) };
    if may { Ok(filter) } else { Err(Reason::NotAuthorized) }
}

fn may_subscribe(readable: Option<&Readable>, filter: &TopicFilter) -> bool {
    readable.is_some_and(|readable| readable.may_subscribe(filter))
}

/// Whether a client has as many filters as it may have.
fn is_full(app: &App, outbound: &Outbound) -> bool {
    let shared = outbound.shares.as_ref().map_or(0, |shares| shares.len());
    outbound.filters.len() + shared >= app.mqtt.as_ref().map_or(0, |mqtt| mqtt.filters)
}

/// Adds a shared subscription (MQTT 5.0, 4.8.2). Nothing retained is given by it. Returns whether it is new.
fn share(
    app: &App,
    principal: &Principal,
    readable: Option<&Readable>,
    outbound: &mut Outbound,
    text: &str,
    options: Options,
) -> Result<bool, Reason> {
    let shared = SharedFilter::parse(text).ok_or(Reason::TopicFilterInvalid)?;
    if is_full(app, outbound) && !outbound.shares_mut().contains(&shared) {
        return Err(Reason::QuotaExceeded);
    }
    // What the server says of itself is not an event, and so is not shared.
    if is_sys(&shared.filter) || !may_subscribe(readable, &shared.filter) {
        return Err(Reason::NotAuthorized);
    }
    outbound.shares_mut().put(app, principal, shared, options).map_err(|_| Reason::QuotaExceeded)
}

/// Takes filters out that were added for a SUBSCRIBE that has failed.
pub fn take_out(outbound: &mut Outbound, filters: &[Box<str>]) {
    for text in filters {
        remove(outbound, text);
    }
    outbound.count_subscriptions();
}

/// Takes a filter out of those of the connection. Returns it, if it was there; it is `None` of a shared one.
fn remove(outbound: &mut Outbound, text: &str) -> Option<Option<TopicFilter>> {
    if text.starts_with(SharedFilter::BEGINNING) {
        return SharedFilter::parse(text).filter(|shared| outbound.shares_mut().remove(shared)).map(|_| None);
    }
    TopicFilter::parse(text).filter(|filter| outbound.filters.remove(filter)).map(Some)
}

/// Takes filters out.
pub fn unsubscribe(
    keeper: &Keeper,
    outbound: &mut Outbound,
    Unsubscribe { packet_id: id, filters }: Unsubscribe,
) -> Doing {
    let (mut removed, mut texts) = (Vec::new(), Vec::<Box<str>>::new());
    let mut remove = |text: String| {
        let Some(filter) = remove(outbound, &text) else { return Reason::NoSubscriptionExisted };
        texts.push(text.into());
        removed.extend(filter);
        Reason::Success
    };
    let reasons = filters.into_iter().map(&mut remove).collect();
    outbound.count_subscriptions();
    let change = (!texts.is_empty()).then(|| EventFilter::topics(removed)).and_then(Result::ok);
    let change = change
        .map(|filter| Refilter::begin(keeper, MqttSessionChange::Unsubscribe(texts), FilterChange::Remove(filter)));
    Doing::Unsubscribe { id, reasons, change }
}
