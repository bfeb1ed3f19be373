//! A secret among processes that have it anyway: `#[serde(with = "wire::secret")]`. Elsewhere a secret is read from JSON, and never
//! written.

use serde::{Deserializer, Serializer};

use super::bytes;
use crate::domain::Secret;

/// Writes the secret.
///
/// # Errors
/// Those of the serializer.
pub fn serialize<S: Serializer>(secret: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(secret.expose())
}

/// Reads what [`serialize`] wrote.
///
/// # Errors
/// Those of the deserializer.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
    bytes::deserialize(deserializer)
}
