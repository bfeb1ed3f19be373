//! What is agreed upon for compression (RFC 7692, section 7.1).

use super::deflate::WINDOW_BITS;

/// What of compression a connection has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compression {
    /// Whether the client may send compressed messages.
    pub inflates: bool,
    /// Whether the client takes compressed messages as they are made here. One that wants them to refer less far back gets all
    /// messages as they are, which it must take too (RFC 7692, section 6).
    pub compresses: bool,
}

/// What is answered to an offer, and what holds then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreement {
    /// The value of `Sec-WebSocket-Extensions`.
    pub answer: String,
    /// What holds.
    pub compression: Compression,
}

const NAME: &str = "permessage-deflate";

/// Takes the first offer that can be kept, of those in the values of `Sec-WebSocket-Extensions`. Others, and malformed ones, are passed
/// over, as for an extension that is not known.
pub fn agree<'a>(values: impl Iterator<Item = &'a [u8]>) -> Option<Agreement> {
    let values = values.filter_map(|value| std::str::from_utf8(value).ok());
    values.flat_map(|value| value.split(',')).find_map(Offer::read).map(Offer::accept)
}

/// The parameters of an offer.
#[derive(Default)]
struct Offer {
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_max_window_bits: Option<u8>,
    client_max_window_bits: Option<u8>,
}

impl Offer {
    /// Reads an offer. One with a parameter that is not known, comes twice or has a value that it cannot have is none.
    fn read(offer: &str) -> Option<Self> {
        let mut parts = offer.split(';').map(|part| part.trim_matches([' ', '\t']));
        if !parts.next()?.eq_ignore_ascii_case(NAME) {
            return None;
        }
        let mut read = Self::default();
        for part in parts {
            let (name, value) = match part.split_once('=') {
                Some((name, value)) => (name.trim_end(), Some(unquoted(value.trim_start()))),
                None => (part, None),
            };
            let is_new = match (name.to_ascii_lowercase().as_str(), value) {
                ("server_no_context_takeover", None) => !std::mem::replace(&mut read.server_no_context_takeover, true),
                ("client_no_context_takeover", None) => !std::mem::replace(&mut read.client_no_context_takeover, true),
                ("server_max_window_bits", Some(bits)) => {
                    read.server_max_window_bits.replace(window_bits(bits)?).is_none()
                }
                ("client_max_window_bits", bits) => {
                    read.client_max_window_bits.replace(bits.map_or(Some(15), window_bits)?).is_none()
                }
                _ => false,
            };
            if !is_new {
                return None;
            }
        }
        Some(read)
    }

    /// Says that no context is taken over, whether or not that was offered (sections 7.1.1.1 and 7.1.1.2), and repeats the window that
    /// was asked for. The client's window may be as large as it likes: none is kept.
    fn accept(self) -> Agreement {
        let mut answer = format!("{NAME}; server_no_context_takeover; client_no_context_takeover");
        if let Some(bits) = self.server_max_window_bits {
            answer += &format!("; server_max_window_bits={bits}");
        }
        let compresses = self.server_max_window_bits.is_none_or(|bits| bits >= WINDOW_BITS);
        Agreement { answer, compression: Compression { inflates: true, compresses } }
    }
}

/// A value may be quoted (RFC 6455, section 9.1).
fn unquoted(value: &str) -> &str {
    value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value)
}

/// From 8 to 15, without a zero before it (RFC 7692, section 7.1.2).
fn window_bits(text: &str) -> Option<u8> {
    let bits = text.parse().ok().filter(|bits| (8..=15).contains(bits))?;
    (!text.starts_with(['0', '+'])).then_some(bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agreed(values: &[&str]) -> Option<(String, bool)> {
        let Agreement { answer, compression } = agree(values.iter().map(|value| value.as_bytes()))?;
        assert!(compression.inflates);
        let rest = answer.strip_prefix("permessage-deflate; server_no_context_takeover; client_no_context_takeover");
        Some((rest.unwrap().to_owned(), compression.compresses))
    }

    #[test]
    fn the_first_offer_that_can_be_kept_is_taken_and_the_window_of_the_server_repeated() {
        for (offers, window, compresses) in [
            (&["permessage-deflate"][..], "", true),
            (&["permessage-deflate; client_max_window_bits"], "", true),
            (&["Permessage-Deflate;client_max_window_bits=9 ; server_no_context_takeover"], "", true),
            (&["permessage-deflate; server_max_window_bits=15"], "; server_max_window_bits=15", true),
            (&["permessage-deflate; server_max_window_bits=\"12\""], "; server_max_window_bits=12", true),
            (&["permessage-deflate; server_max_window_bits = 11"], "; server_max_window_bits=11", false),
            (&["permessage-deflate; server_max_window_bits=8"], "; server_max_window_bits=8", false),
            (
                &["x, permessage-deflate; y", "permessage-deflate; server_max_window_bits=9, permessage-deflate"],
                "; server_max_window_bits=9",
                false,
            ),
        ] {
            assert_eq!(agreed(offers), Some((window.to_owned(), compresses)), "{offers:?}");
        }
    }

    #[test]
    fn an_offer_that_says_what_it_must_not_is_passed_over() {
        for offer in [
            "",
            "x-webkit-deflate-frame",
            "permessage-deflate2",
            "permessage-deflate; y",
            "permessage-deflate;",
            "permessage-deflate; server_no_context_takeover=1",
            "permessage-deflate; client_no_context_takeover; client_no_context_takeover",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; server_max_window_bits=7",
            "permessage-deflate; server_max_window_bits=16",
            "permessage-deflate; server_max_window_bits=010",
            "permessage-deflate; server_max_window_bits=+9",
            "permessage-deflate; server_max_window_bits=9; server_max_window_bits=9",
            "permessage-deflate; client_max_window_bits=",
            "permessage-deflate; client_max_window_bits=300",
        ] {
            assert_eq!(agreed(&[offer]), None, "{offer}");
            assert!(agreed(&[offer, "permessage-deflate"]).is_some(), "{offer}");
        }
        assert_eq!(agree([&b"permessage-deflate; \xff"[..]].into_iter()), None);
    }
}
