//! What other parts of the server know anyway, read when somebody asks.

use super::process::Process;

/// Values as they are at one moment.
#[derive(Clone, Debug, Default)]
pub struct Readings {
    /// How many changes wait for the writer.
    pub writer_queue_changes: u64,
    /// How many bytes these hold.
    pub writer_queue_bytes: u64,
    /// How many bytes of memory the commits take that are not in the database's own files yet, about.
    pub overlay_bytes: u64,
    /// How many bytes the files of the database have, by kind.
    pub store_files: Vec<(&'static str, u64)>,
    /// How many bytes of the disk are free for the server; `None` if that cannot be read.
    pub disk_free_bytes: Option<u64>,
    /// Whether the last change or checkpoint found no room on the disk.
    pub disk_full: bool,
    /// How many passwords wait to be hashed.
    pub password_queue: u64,
    /// How often each kind of limit refused something since the start.
    pub throttled: Vec<(&'static str, u64)>,
    /// By how many seconds the server's clock is ahead of the machine's.
    pub clock_offset_seconds: f64,
    /// Whether time servers vouch for the clock; `None` if none are asked.
    pub clock_synchronized: Option<bool>,
    /// When the certificate ends that clients are shown, in seconds since the Unix epoch; `None` before the first client and without
    /// HTTPS.
    pub certificate_not_after: Option<f64>,
    /// Clients of MQTT; `None` if it is not served.
    pub mqtt: Option<MqttReadings>,
    /// The process, as the operating system sees it.
    pub process: Process,
}

/// What is counted of the clients of MQTT of all tenants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MqttReadings {
    /// How many clients are connected.
    pub clients: u64,
    /// How many subscriptions they have.
    pub subscriptions: u64,
    /// How many messages came from them since the start.
    pub received: u64,
    /// How many were sent to them.
    pub sent: u64,
}
