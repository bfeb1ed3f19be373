//! The changes of events that another process may decide.

use crate::writer::forms;

forms! {
    "insert" => super::insert::Insert;
    "mqtt_session_begin" => super::mqtt_sessions::BeginMqttSession;
    "mqtt_session_change" => super::mqtt_sessions::ChangeMqttSession;
}
