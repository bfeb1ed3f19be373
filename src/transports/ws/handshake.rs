//! The opening handshake (RFC 6455, section 4.2).

use std::fmt;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::extension::{Agreement, Compression, agree};

/// What the key of a handshake is hashed with (section 1.3). It protects nothing: it shows that the server speaks WebSocket.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// The only version.
const VERSION: &[u8] = b"13";
/// How many bytes the key encodes.
const KEY_BYTES: usize = 16;

/// A request to switch to WebSocket that may be accepted.
#[derive(Clone, Debug)]
pub struct Handshake {
    accept: String,
    protocols: Vec<String>,
    agreement: Option<Agreement>,
}

/// Why a request is no handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It does not ask to switch to WebSocket: 426 with `Upgrade: websocket`.
    NotAsked,
    /// It asks for another version: 426 with `Upgrade: websocket` and `Sec-WebSocket-Version: 13`.
    Version,
    /// It is malformed: 400. The text says what is wrong.
    Malformed(&'static str),
}

impl Handshake {
    /// Checks a `GET` of HTTP/1.1 without a body. `asks`: whether its `Upgrade` names `websocket` and its `Connection` names `upgrade`.
    /// `values` gives all values of a header; its name is in lower case.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn read<'a, V: Iterator<Item = &'a [u8]>>(asks: bool, values: impl Fn(&str) -> V) -> Result<Self, Refusal> {
        if !asks {
            return Err(Refusal::NotAsked);
        }
        let single = |name| {
            let mut values = values(name);
            values.next().filter(|_| values.next().is_none()).map(<[u8]>::trim_ascii)
        };
        match single("sec-websocket-version") {
            Some(VERSION) => {}
            Some(_) => return Err(Refusal::Version),
            None => return Err(Refusal::Malformed("it takes one header Sec-WebSocket-Version")),
        }
        let key = single("sec-websocket-key").filter(|key| is_key(key));
        let key = key.ok_or(Refusal::Malformed("it takes one header Sec-WebSocket-Key with 16 bytes in Base64"))?;
        let protocols = values("sec-websocket-protocol").map(protocols).collect::<Option<Vec<_>>>();
        let protocols =
            protocols.ok_or(Refusal::Malformed("Sec-WebSocket-Protocol takes names with commas between"))?;
        Ok(Self {
            accept: accept(key),
            protocols: protocols.concat(),
            agreement: agree(values("sec-websocket-extensions")),
        })
    }

    /// The first of the client's subprotocols, which come in its order of preference, that is one of ours.
    pub fn choose(&self, ours: &[&'static str]) -> Option<&'static str> {
        self.protocols.iter().find_map(|offered| ours.iter().find(|one| *one == offered).copied())
    }

    /// Whether the client offers a subprotocol, be it one of ours or not.
    pub fn offers_any(&self) -> bool {
        !self.protocols.is_empty()
    }

    /// The value of `Sec-WebSocket-Accept`.
    pub fn accept(&self) -> &str {
        &self.accept
    }

    /// The value of `Sec-WebSocket-Extensions`, if the answer has it.
    pub fn extensions(&self) -> Option<&str> {
        self.agreement.as_ref().map(|agreement| agreement.answer.as_str())
    }

    /// What of compression the connection has, if the answer has the [extensions](Handshake::extensions).
    pub fn compression(&self) -> Compression {
        self.agreement.as_ref().map(|agreement| agreement.compression).unwrap_or_default()
    }
}

fn accept(key: &[u8]) -> String {
    STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key, GUID].concat()))
}

fn is_key(key: &[u8]) -> bool {
    STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == KEY_BYTES)
}

/// The names in a list, which may have empty places (RFC 9110, section 5.6.1).
fn protocols(list: &[u8]) -> Option<Vec<String>> {
    let names = list.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|name| !name.is_empty());
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    names.map(|name| name.iter().all(is_token).then(|| String::from_utf8_lossy(name).into_owned())).collect()
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAsked => "it does not ask to switch to WebSocket",
            Self::Version => "it asks for a version of WebSocket other than 13",
            Self::Malformed(why) => why,
        })
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: (&str, &str) = ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    const THIRTEEN: (&str, &str) = ("sec-websocket-version", "13");

    fn read(headers: &[(&str, &str)]) -> Result<Handshake, Refusal> {
        Handshake::read(true, |name| {
            let name = name.to_owned();
            headers.iter().filter(move |(one, _)| *one == name).map(|(_, value)| value.as_bytes())
        })
    }

    #[test]
    fn the_key_of_the_rfc_is_answered_as_the_rfc_says() {
        let handshake = read(&[KEY, THIRTEEN]).unwrap();
        assert_eq!(handshake.accept(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!((handshake.extensions(), handshake.compression()), (None, Compression::default()));
    }

    #[test]
    fn of_the_subprotocols_the_client_prefers_the_first_that_there_is_here() {
        for (offered, chosen) in [
            (&[][..], None),
            (&["a, b"][..], None),
            (&["a, mqtt,broker.v1"], Some("mqtt")),
            (&["a ,", " broker.v1", "mqtt"], Some("broker.v1")),
            (&["Broker.v1"], None),
        ] {
            let mut headers = vec![KEY, THIRTEEN];
            headers.extend(offered.iter().map(|list| ("sec-websocket-protocol", *list)));
            assert_eq!(read(&headers).unwrap().choose(&["broker.v1", "mqtt"]), chosen, "{offered:?}");
            assert_eq!(read(&headers).unwrap().offers_any(), !offered.is_empty(), "{offered:?}");
        }
    }

    #[test]
    fn a_request_that_is_no_handshake_is_refused_with_the_reason() {
        assert_eq!(Handshake::read(false, |_| std::iter::empty()).unwrap_err(), Refusal::NotAsked);
        let other = |version| read(&[KEY, ("sec-websocket-version", version)]).unwrap_err();
        assert_eq!(["12", "8", "013", "x"].map(other), [Refusal::Version; 4]);
        for headers in [
            &[THIRTEEN][..],
            &[KEY],
            &[KEY, THIRTEEN, THIRTEEN],
            &[KEY, KEY, THIRTEEN],
            &[("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ"), THIRTEEN],
            &[("sec-websocket-key", "dGhlIHNhbXBsZQ=="), THIRTEEN],
            &[("sec-websocket-key", ""), THIRTEEN],
            &[KEY, THIRTEEN, ("sec-websocket-protocol", "a b")],
            &[KEY, THIRTEEN, ("sec-websocket-protocol", "\"a\"")],
        ] {
            assert!(matches!(read(headers), Err(Refusal::Malformed(_))), "{headers:?}");
        }
    }
}
