//! Which course of commits a database goes.

/// The setting with the lineage of a database.
pub const LINEAGE_SETTING: &str = "lineage";

/// A course of commits. A database draws another one when it is restored, since its further commits have nothing to do with those
/// that followed before, although they have the same numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lineage(pub u64);

impl Lineage {
    /// A new one.
    pub fn draw() -> Self {
        Self(u64::from_be_bytes(crate::random::bytes()))
    }

    /// The lineage in the setting of a database.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().map(u64::from_be_bytes).map(Self).ok()
    }
}

impl std::fmt::Display for Lineage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}
