use std::time::Duration;

/// The times and sizes of sessions. The defaults are those of Socket.IO 4.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long after the last answer a client is pinged.
    pub ping_interval: Duration,
    /// How long a client has to answer a ping.
    pub ping_timeout: Duration,
    /// How long a session may be without a socket.
    pub connect_timeout: Duration,
    /// How long an upgrade may take.
    pub upgrade_timeout: Duration,
    /// Maximum length of a post, of a message on a WebSocket, and of a packet with its attachments, in bytes.
    pub max_payload: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            ping_interval: Duration::from_secs(25),
            ping_timeout: Duration::from_secs(20),
            connect_timeout: Duration::from_secs(45),
            upgrade_timeout: Duration::from_secs(10),
            max_payload: 1_000_000,
        }
    }
}

impl Settings {
    /// The packet that opens a session.
    pub(super) fn open_packet(&self, sid: &str, is_websocket: bool) -> String {
        let upgrades = if is_websocket { "" } else { r#""websocket""# };
        let [interval, timeout] = [self.ping_interval, self.ping_timeout].map(|time| time.as_millis());
        let most = self.max_payload;
        format!(
            r#"0{{"sid":"{sid}","upgrades":[{upgrades}],"pingInterval":{interval},"pingTimeout":{timeout},"maxPayload":{most}}}"#
        )
    }
}
