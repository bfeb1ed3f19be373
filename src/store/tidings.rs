use super::mqtt_cursors::CursorChange;
use crate::domain::{MqttSessionId, Username};

/// What a commit does to those who are connected, which no row says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tidings {
    /// The users whose open streams must end, each once and in order.
    pub ended: Vec<Username>,
    /// The users whose open streams must look at their rights again, each once and in order.
    pub changed: Vec<Username>,
    /// How far sessions of MQTT have come.
    pub cursors: Vec<CursorChange>,
    /// The sessions of MQTT that go on, or are ended, after their connections were lost.
    pub found_again: Vec<MqttSessionId>,
}
