//! Bytes as such, and not as a list of numbers: `#[serde(with = "wire::bytes")]`.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Error, Visitor};
use serde::{Deserializer, Serializer};

/// Writes bytes.
///
/// # Errors
/// Those of the serializer.
pub fn serialize<S: Serializer>(bytes: &(impl AsRef<[u8]> + ?Sized), serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(bytes.as_ref())
}

/// Reads what [`serialize`] wrote.
///
/// # Errors
/// Those of the deserializer, and if there are more or fewer than fit.
pub fn deserialize<'de, T: for<'a> TryFrom<&'a [u8]>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    struct Bytes<T>(PhantomData<T>);
    impl<T: for<'a> TryFrom<&'a [u8]>> Visitor<'_> for Bytes<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("bytes")
        }

        fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<T, E> {
            T::try_from(bytes).map_err(|_| E::invalid_length(bytes.len(), &self))
        }
    }
    deserializer.deserialize_bytes(Bytes(PhantomData))
}
