//! What an event has beside its data if it was published over MQTT, so that an MQTT subscriber gets what was published.

use serde::{Deserialize, Serialize};
use std::borrow::Cow;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::value::RawValue;

use super::Payload;

/// What stands around the base64 of a payload that is no text.
const BASE64_OBJECT: (&str, &str) = (r#"{"$base64":""#, r#""}"#);

/// How many bytes a part of [`Published`] takes beside its content: what it is, and its length.
pub const PART_BYTES: usize = 5;

/// What an event has beside its data if it was published over MQTT.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// How the payload follows from the data.
    pub form: PayloadForm,
    /// The quality of service with which it was published.
    pub qos: Qos,
    /// The client that published it.
    pub publisher: PublisherId,
    /// The properties that are forwarded.
    pub properties: Properties,
}

/// How the payload of a PUBLISH packet, which is any bytes, follows from the data of its event, which is JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PayloadForm {
    /// The data is the payload as it stands.
    Data,
    /// The data is a string, and the payload its text. An empty payload is an empty text.
    Text,
    /// The data is `{"$base64": "…"}` with the payload, which is not UTF-8.
    Base64,
    /// The data is the payload without the white space between its tokens. These bytes are the payload as it came.
    Raw(#[serde(with = "super::wire::bytes")] Box<[u8]>),
}

/// The quality of service of a PUBLISH packet (MQTT 5.0, 4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Qos {
    /// QoS 0.
    AtMostOnce,
    /// QoS 1.
    AtLeastOnce,
    /// QoS 2.
    ExactlyOnce,
}

/// A number that tells one MQTT client from others. A subscription with the option "No Local" leaves out what its own client
/// published (MQTT 5.0, 3.8.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublisherId(pub u64);

/// The properties of a PUBLISH packet that subscribers get unaltered (MQTT 5.0, 3.3.2.3).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Properties {
    /// The payload format indicator.
    pub payload_format: Option<PayloadFormat>,
    /// What the payload is, by convention a media type.
    pub content_type: Option<String>,
    /// The topic for a response.
    pub response_topic: Option<String>,
    /// By what the requester knows which request a response belongs to.
    pub correlation_data: Option<Vec<u8>>,
    /// Names and values. They have an order, and names may repeat.
    pub user_properties: Vec<(String, String)>,
}

/// A payload format indicator (MQTT 5.0, 3.3.2.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PayloadFormat {
    /// 0: the payload is unspecified bytes, as it also is without an indicator.
    Bytes,
    /// 1: the payload is text.
    Text,
}

impl Published {
    /// How many bytes it adds to the size of its event: payload that is kept beside the data, and properties, each with
    /// [`PART_BYTES`] so that many empty ones count as well.
    pub fn bytes(&self) -> usize {
        let raw = if let PayloadForm::Raw(raw) = &self.form { PART_BYTES + raw.len() } else { 0 };
        raw + self.properties.bytes()
    }
}

impl PayloadForm {
    /// The data of an event for a payload, and how the payload follows from it. JSON that is nested deeper than
    /// [`MAX_DEPTH`](super::MAX_DEPTH) is text like any other.
    pub fn read(payload: &[u8]) -> (Payload, Self) {
        let Ok(text) = std::str::from_utf8(payload) else {
            let (before, after) = BASE64_OBJECT;
            let data = format!("{before}{}{after}", BASE64_STANDARD.encode(payload));
            return (Payload::from_stored(&data), Self::Base64);
        };
        let is_json = serde_json::from_str::<&RawValue>(text).is_ok();
        match Payload::from_valid_json(text) {
            Ok(data) if is_json && data.as_str() == text => (data, Self::Data),
            Ok(data) if is_json => (data, Self::Raw(payload.into())),
            _ => (Payload::from_stored(&serde_json::Value::from(text).to_string()), Self::Text),
        }
    }

    /// How a payload follows from data that came by another way: the one that [`PayloadForm::read`] makes this data of. A text that is
    /// JSON by itself would be read as that, and so stays a string of JSON; an empty one, too, since an empty retained message is a removal.
    pub fn of_data(data: &str) -> Self {
        let (before, _) = BASE64_OBJECT;
        let form = match data.as_bytes().first() {
            Some(b'"') => Self::Text,
            Some(b'{') if data.starts_with(before) => Self::Base64,
            _ => return Self::Data,
        };
        let payload = form.payload_bytes(data).into_owned();
        let is_that = !payload.is_empty() && Self::read(&payload) == (Payload::from_stored(data), form.clone());
        if is_that { form } else { Self::Data }
    }

    /// The payload, from the data that [`PayloadForm::read`] made of it. Data that it did not make gives no bytes, as does the
    /// `null` of a removal.
    pub fn payload_bytes<'a>(&'a self, data: &'a str) -> Cow<'a, [u8]> {
        match self {
            Self::Data => Cow::Borrowed(data.as_bytes()),
            Self::Raw(raw) => Cow::Borrowed(raw),
            // A text without escapes is in the data as it stands.
            Self::Text => match serde_json::from_str::<&str>(data) {
                Ok(text) => Cow::Borrowed(text.as_bytes()),
                Err(_) => Cow::Owned(serde_json::from_str::<String>(data).unwrap_or_default().into_bytes()),
            },
            Self::Base64 => {
                let (before, after) = BASE64_OBJECT;
                let base64 = data.strip_prefix(before).and_then(|data| data.strip_suffix(after)).unwrap_or_default();
                Cow::Owned(BASE64_STANDARD.decode(base64).unwrap_or_default())
            }
        }
    }
}

impl Qos {
    /// That of a number; `None` for 3 and more, which is malformed (MQTT 5.0, 3.3.1.2).
    pub fn from_number(number: u8) -> Option<Self> {
        [Self::AtMostOnce, Self::AtLeastOnce, Self::ExactlyOnce].get(usize::from(number)).copied()
    }

    /// 0, 1 or 2.
    pub fn number(self) -> u8 {
        self as u8
    }
}

impl Properties {
    /// Whether there are none. A payload format indicator of 0 says nothing and is none.
    pub fn are_none(&self) -> bool {
        self.bytes() == 0 && self.payload_format != Some(PayloadFormat::Text)
    }

    /// As [`Published::bytes`]. The payload format indicator does not count.
    pub fn bytes(&self) -> usize {
        let Self { payload_format: _, content_type, response_topic, correlation_data, user_properties } = self;
        let texts = [content_type, response_topic].into_iter().flatten().map(String::len);
        let pairs = user_properties.iter().flat_map(|(name, value)| [name.len(), value.len()]);
        texts.chain(correlation_data.as_ref().map(Vec::len)).chain(pairs).map(|length| PART_BYTES + length).sum()
    }
}

#[cfg(test)]
impl Published {
    /// One for tests, with every property.
    pub fn example() -> Self {
        let pairs = [("b", "1"), ("a", ""), ("b", "grün \"2\"")];
        Self {
            form: PayloadForm::Data,
            qos: Qos::AtLeastOnce,
            publisher: PublisherId(1 << 63),
            properties: Properties {
                payload_format: Some(PayloadFormat::Text),
                content_type: Some("text/plain".to_owned()),
                response_topic: Some("answers/7".to_owned()),
                correlation_data: Some(vec![0, 255]),
                user_properties: pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
            },
        }
    }
}

#[cfg(test)]
mod tests;
