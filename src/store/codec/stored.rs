//! How the values in a user are written as JSON: `#[serde(with = "stored")]`.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::domain::{
    Email, Generation, PasswordHash, Payload, Position, RecoveryHash, Scope, Secret, TenantName, Timestamp, Username,
};

/// A value that is stored as a type which JSON has.
pub trait Stored: Sized {
    /// The type that it is stored as.
    type As: Serialize + for<'de> Deserialize<'de>;

    fn store(&self) -> Self::As;

    /// `None` for a value that was never stored.
    fn restore(stored: Self::As) -> Option<Self>;
}

pub fn serialize<T: Stored, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    value.store().serialize(serializer)
}

pub fn deserialize<'de, T: Stored, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    T::restore(T::As::deserialize(deserializer)?).ok_or_else(|| D::Error::custom("it was never stored"))
}

impl<T: Stored> Stored for Option<T> {
    type As = Option<T::As>;

    fn store(&self) -> Self::As {
        self.as_ref().map(T::store)
    }

    fn restore(stored: Self::As) -> Option<Self> {
        stored.map_or(Some(None), |stored| T::restore(stored).map(Some))
    }
}

impl<T: Stored> Stored for Vec<T> {
    type As = Vec<T::As>;

    fn store(&self) -> Self::As {
        self.iter().map(T::store).collect()
    }

    fn restore(stored: Self::As) -> Option<Self> {
        stored.into_iter().map(T::restore).collect()
    }
}

/// Says of each type what it is stored as, and the way there and back.
macro_rules! stored {
    ($($type:ty as $form:ty: $store:expr, $restore:expr;)*) => {
        $(impl Stored for $type {
            type As = $form;

            fn store(&self) -> $form {
                let store: fn(&Self) -> $form = $store;
                store(self)
            }

            fn restore(stored: $form) -> Option<Self> {
                let restore: fn($form) -> Option<Self> = $restore;
                restore(stored)
            }
        })*
    };
}

stored! {
    Username as String: |name| name.to_string(), |name| Username::parse(&name).ok();
    TenantName as String: |name| name.to_string(), |name| TenantName::parse(&name).ok();
    Position as u64: |position| position.get(), |number| Some(Position::new(number));
    Timestamp as u64: |moment| moment.as_millis(), |millis| Some(Timestamp::from_millis(millis));
    Generation as u64: |generation| generation.0, |number| Some(Generation(number));
    PasswordHash as String: |hash| hash.expose().to_owned(), |phc| Some(PasswordHash::new(phc));
    // The list of throw-away providers grows. An address that was accepted once stays.
    Email as String: |email| email.as_str().to_owned(), |text| Some(Email::from_stored(text));
    Scope as String: |scope| scope.to_string(), |text| Scope::parse(&text).ok();
    // JSON as text, so that it comes back byte for byte.
    Payload as String: |data| data.to_string(), |json| Some(Payload::from_stored(&json));
    RecoveryHash as String: |hash| BASE64_STANDARD.encode(hash.0),
        |text| BASE64_STANDARD.decode(text).ok()?.try_into().ok().map(RecoveryHash);
    Secret as String: |secret| BASE64_STANDARD.encode(secret.expose()), |text| BASE64_STANDARD.decode(text).ok().map(Secret::new);
}
