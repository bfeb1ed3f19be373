//! The form of values in changes and answers that another process decides or has decided. A value that is read is checked as one that a
//! client sends.

pub mod bytes;
pub mod secret;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use super::{
    ClientAddress, Email, EventId, EventName, Guest, GuestInsert, GuestRights, NewUsername, PasswordHash, Pattern,
    Patterns, Payload, RecoveryCode, Scope, Secret, SessionId, TenantName, Timestamp, TopicFilter, Username,
};

/// Values that are written as text, each with how it is read.
macro_rules! as_text {
    ($($type:ty: $write:expr, $read:expr;)*) => {$(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let write: fn(&Self) -> &str = $write;
                serializer.serialize_str(write(self))
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                let read: fn(&str) -> Option<Self> = $read;
                read(&text).ok_or_else(|| D::Error::custom(concat!("this is no ", stringify!($type))))
            }
        }
    )*};
}

as_text! {
    // Also that of a guest.
    Username: Self::as_str, |text| Self::from_stored(text).ok();
    TenantName: Self::as_str, |text| Self::parse(text).ok();
    EventName: Self::as_str, |text| Self::parse(text).ok();
    NewUsername: |name| name.get().as_str(), |text| Self::parse(text).ok();
    Scope: Self::as_str, |text| Self::parse(text).ok();
    // An address that was valid when it was given stays, whatever list it is on by now.
    Email: Self::as_str, |text| Some(Self::from_stored(text.to_owned()));
    Payload: Self::as_str, payload;
    PasswordHash: Self::expose, |text| Some(Self::new(text.to_owned()));
    TopicFilter: Self::as_str, Self::parse;
}

/// Data that is JSON, as a client could have sent it.
fn payload(text: &str) -> Option<Payload> {
    serde_json::from_str::<&RawValue>(text).ok()?;
    Payload::from_valid_json(text).ok()
}

impl Serialize for EventId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for EventId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| D::Error::custom("this is no id of an event"))
    }
}

impl Serialize for SessionId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.get().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for SessionId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(u64::deserialize(deserializer)?).ok_or_else(|| D::Error::custom("this is no id of a session"))
    }
}

impl From<&[u8]> for Secret {
    fn from(bytes: &[u8]) -> Self {
        Self::new(bytes)
    }
}

impl Serialize for RecoveryCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.shown())
    }
}

impl<'de> Deserialize<'de> for RecoveryCode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <std::borrow::Cow<'de, str>>::deserialize(deserializer).map(|text| Self::read(&text))
    }
}

/// A guest, by what made them one.
#[derive(Serialize, Deserialize)]
struct GuestForm {
    username: Username,
    tenant: TenantName,
    see: Vec<PatternForm>,
    insert: InsertForm,
    expires_at: Option<Timestamp>,
}

#[derive(Serialize, Deserialize)]
enum PatternForm {
    Exact(EventName),
    Prefix(String),
    Topic(TopicFilter),
}

#[derive(Serialize, Deserialize)]
enum InsertForm {
    Of(Vec<PatternForm>),
    NotUnderIdsBut(String),
}

fn write(patterns: &Patterns) -> Vec<PatternForm> {
    let form = |pattern: &Pattern| match pattern {
        Pattern::Exact(name) => PatternForm::Exact(name.clone()),
        Pattern::Prefix(prefix) => PatternForm::Prefix(prefix.to_string()),
        Pattern::Topic(filter) => PatternForm::Topic(filter.clone()),
    };
    patterns.iter().map(form).collect()
}

fn read(patterns: Vec<PatternForm>) -> Patterns {
    let pattern = |form| match form {
        PatternForm::Exact(name) => Pattern::Exact(name),
        PatternForm::Prefix(prefix) => Pattern::Prefix(prefix.into()),
        PatternForm::Topic(filter) => Pattern::Topic(filter),
    };
    Patterns::new(patterns.into_iter().map(pattern).collect())
}

impl Serialize for Guest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let GuestRights { see, insert } = self.rights();
        let insert = match insert {
            GuestInsert::Of(patterns) => InsertForm::Of(write(&patterns)),
            GuestInsert::NotUnderIdsBut(own) => InsertForm::NotUnderIdsBut(own.into()),
        };
        let (username, tenant) = (self.username().clone(), self.account().tenant.clone());
        GuestForm { username, tenant, see: write(&see), insert, expires_at: self.expires_at() }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Guest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let GuestForm { username, tenant, see, insert, expires_at } = GuestForm::deserialize(deserializer)?;
        if !username.is_guest() {
            return Err(D::Error::custom("this is no guest"));
        }
        let insert = match insert {
            InsertForm::Of(patterns) => GuestInsert::Of(read(patterns)),
            InsertForm::NotUnderIdsBut(own) => GuestInsert::NotUnderIdsBut(own.into()),
        };
        Ok(Self::named(username, tenant, GuestRights { see: read(see), insert }, expires_at))
    }
}

impl Serialize for ClientAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.parts().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for ClientAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Deserialize::deserialize(deserializer).map(Self::of_parts)
    }
}
