//! Everything that is kept of a user, a JSON object a line.

use serde::Serialize;
use serde_json::value::RawValue;

use super::event_object::event_object;
use super::listing::{Items, Rows, STEP_BYTES};
use crate::domain::{
    KeptSubscription, KeptWill, MqttSession, MqttSessionId, PayloadForm, SessionId, TenantName, Timestamp, Username,
};
use crate::error::Error;
use crate::events::EventParts;
use crate::identity::{Principal, kept_of};
use crate::store::{Store, UserEvents};

/// Everything that is kept of a user: first the account and what belongs to it, then the events.
pub struct ExportRows {
    username: Username,
    /// The session that asks, and when.
    current: Option<SessionId>,
    now: Timestamp,
    /// Sessions of MQTT that are left, one a step, since each may have many filters; `None` before the account was read.
    mqtt_sessions: Option<Vec<MqttSessionId>>,
    events: Option<UserEvents>,
}

impl ExportRows {
    pub fn new(principal: &Principal, now: Timestamp) -> Self {
        Self {
            username: principal.username.clone(),
            current: principal.session(),
            now,
            mqtt_sessions: None,
            events: None,
        }
    }
}

impl Rows for ExportRows {
    fn next(&mut self, store: &Store, items: &mut Items) -> Result<bool, Error> {
        let Some(mqtt_sessions) = &mut self.mqtt_sessions else {
            let user = store.user(&self.username)?.ok_or(Error::Unauthorized)?;
            for (kind, object) in kept_of(store, &user, self.current, self.now)? {
                items.push(&of_kind(kind, &object)?)?;
            }
            let ids = store.unless_damaged(store.mqtt_sessions_of(&self.username))?;
            self.mqtt_sessions = Some(ids.unwrap_or_default());
            return Ok(true);
        };
        if let Some(id) = mqtt_sessions.pop() {
            if let Some(session) = store.unless_damaged(store.mqtt_session(id))?.flatten() {
                items.push(&MqttSessionView::from(&session))?;
            }
            return Ok(true);
        }
        let events = match &mut self.events {
            Some(events) => events,
            None => {
                let user = store.user(&self.username)?.ok_or(Error::Unauthorized)?;
                self.events.insert(UserEvents::new(store, &user))
            }
        };
        events.next(store, STEP_BYTES, |tenant, event| {
            match store.unless_damaged(event_line(tenant, &EventParts::of_stored(&event, store), None))? {
                Some(line) => items.push(&line),
                None => Ok(()),
            }
        })
    }
}

/// A session of MQTT, as its user sees it.
#[derive(Serialize)]
struct MqttSessionView<'a> {
    kind: &'static str,
    client_id: &'a str,
    tenant_name: &'a str,
    began_at: u64,
    ended_at: Option<u64>,
    expires_at: Option<u64>,
    subscriptions: Vec<SubscriptionView<'a>>,
    will: Option<WillView<'a>>,
}

#[derive(Serialize)]
struct SubscriptionView<'a> {
    filter: &'a str,
    qos: u8,
}

#[derive(Serialize)]
struct WillView<'a> {
    event: &'a str,
    /// Always there: it is JSON.
    data: Option<Box<RawValue>>,
}

impl<'a> From<&'a MqttSession> for MqttSessionView<'a> {
    fn from(MqttSession { head, subscriptions, will, .. }: &'a MqttSession) -> Self {
        let view = |one: &'a KeptSubscription| SubscriptionView { filter: &one.filter, qos: one.qos.number() };
        let data = |will: &KeptWill| RawValue::from_string(PayloadForm::read(&will.payload).0.to_string()).ok();
        Self {
            kind: "mqtt_session",
            client_id: &head.key.client_id,
            tenant_name: head.tenant.as_str(),
            began_at: head.began.0.as_millis(),
            ended_at: head.ended_at.map(Timestamp::as_millis),
            expires_at: head.expires_at().map(Timestamp::as_millis),
            subscriptions: subscriptions.iter().map(view).collect(),
            will: will.as_ref().map(|will| WillView { event: will.topic.as_str(), data: data(will) }),
        }
    }
}

/// An event of a tenant as a line: the object that every transport shows, with its kind and its tenant before that, and when it
/// expires if that is to be told.
///
/// # Errors
/// [`Error::Damaged`] if its data is no JSON.
pub(super) fn event_line(
    tenant: &TenantName,
    event: &EventParts<'_>,
    expires_at: Option<Timestamp>,
) -> Result<Box<RawValue>, Error> {
    let (tenant, object) = (serde_json::Value::from(tenant.as_str()), event_object(event)?);
    let expiry = expires_at.map(|at| format!("\"expires_at\":{},", at.as_millis())).unwrap_or_default();
    raw(format!("{{\"kind\":\"event\",\"tenant_name\":{tenant},{expiry}{}", &object.get()[1..]))
}

/// An object, which has fields, with the word for what it is before them.
pub(super) fn of_kind(kind: &str, object: &RawValue) -> Result<Box<RawValue>, Error> {
    raw(format!("{{\"kind\":\"{kind}\",{}", &object.get()[1..]))
}

fn raw(json: String) -> Result<Box<RawValue>, Error> {
    RawValue::from_string(json).map_err(|error| Error::Internal(error.to_string()))
}

#[cfg(test)]
mod tests {
    //! Guards what a user is shown of their sessions of MQTT.

    use serde_json::json;

    use super::*;
    use crate::domain::{
        EventName, Generation, MqttAsk, MqttProgress, MqttSessionHead, MqttSessionKey, NEVER_EXPIRES, Position,
        Properties, PublisherId, Qos, SignIn, TenantName, WillRight,
    };

    #[test]
    fn a_session_of_mqtt_is_shown_with_its_subscriptions_times_and_will_and_without_what_its_rights_rest_on() {
        let subscription = KeptSubscription {
            filter: "a/#".into(),
            qos: Qos::AtLeastOnce,
            no_local: false,
            retain_as_published: false,
            id: None,
            since: Position::START,
            asked: MqttAsk::default(),
        };
        let sign_in = SignIn { generation: Generation(77), by_password_alone: false, session: None };
        let will = KeptWill {
            topic: EventName::parse("gone").unwrap(),
            payload: b"by"[..].into(),
            qos: Qos::AtMostOnce,
            retain: false,
            properties: Properties::default(),
            expires_in: None,
            delay: 0,
            by: WillRight::SignIn(sign_in),
        };
        let head = MqttSessionHead {
            key: MqttSessionKey { username: Username::parse("zoe").unwrap(), client_id: "phone".into() },
            tenant: TenantName::parse("acme").unwrap(),
            publisher: PublisherId(9),
            expiry: 60,
            began: (Timestamp::from_millis(1), Position::START),
            ended_at: Some(Timestamp::from_millis(2)),
        };
        let (progress, unreleased) = (MqttProgress::default(), Default::default());
        let session = MqttSession { head, subscriptions: vec![subscription], progress, unreleased, will: Some(will) };
        let shown = json!({
            "kind": "mqtt_session", "client_id": "phone", "tenant_name": "acme", "began_at": 1, "ended_at": 2,
            "expires_at": 60_002, "subscriptions": [{ "filter": "a/#", "qos": 1 }],
            "will": { "event": "gone", "data": "by" },
        });
        assert_eq!(serde_json::to_value(MqttSessionView::from(&session)).unwrap(), shown);
        let head = MqttSessionHead { expiry: NEVER_EXPIRES, ..session.head };
        let endless = MqttSession { head, will: None, ..session };
        let shown = serde_json::to_value(MqttSessionView::from(&endless)).unwrap();
        assert_eq!((&shown["expires_at"], &shown["will"]), (&json!(null), &json!(null)));
    }
}
