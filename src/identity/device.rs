use crate::domain::ClientAddress;

/// From where, and by which program, somebody signs in.
#[derive(Clone, Debug)]
pub struct Device {
    /// The address.
    pub address: ClientAddress,
    /// The program, as it calls itself.
    pub client: Option<String>,
}
