use crate::domain::ClientAddress;
use serde::{Deserialize, Serialize};

/// From where, and by which program, somebody signs in.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Device {
    /// The address.
    pub address: ClientAddress,
    /// The program, as it calls itself.
    pub client: Option<String>,
}
