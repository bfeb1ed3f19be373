//! Offers to go on with another protocol on a connection of HTTP/1 (RFC 9110, section 7.8). Broker takes up none, and ignores them.

use memchr::memchr;

/// Takes them out of the head of a request. Blanks come in their place, so that nothing moves.
///
/// Closes this fault: where a proxy says `connection: upgrade` on every request, or a client offers HTTP/2 without TLS, actix ends the
/// connection after the answer and does not say so, and what was sent meanwhile is lost; and where WebSocket is offered, it takes a
/// body for what is spoken after the answer.
pub fn ignore(head: &mut [u8]) {
    let mut begin = 0;
    // Each head is gone through, and nearly none has an offer.
    while let Some(length) = memchr(b'\n', &head[begin..]) {
        let line = &mut head[begin..begin + length];
        begin += length + 1;
        if !matches!(line, [b'c' | b'C' | b'u' | b'U', ..]) {
            continue;
        }
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = line.split_at_mut(colon);
        let value = &mut value[1..];
        if name.eq_ignore_ascii_case(b"upgrade") {
            blank(value);
        } else if name.eq_ignore_ascii_case(b"connection") {
            let options = value.split_mut(|byte| *byte == b',');
            options.filter(|option| option.trim_ascii().eq_ignore_ascii_case(b"upgrade")).for_each(blank);
        }
    }
}

/// What may not stand in a header stays, so that it is refused.
fn blank(bytes: &mut [u8]) {
    bytes.iter_mut().filter(|byte| byte.is_ascii_graphic()).for_each(|byte| *byte = b' ');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offer_is_taken_out_of_a_head_and_nothing_else() {
        let without = |head: &str| {
            let mut bytes = head.as_bytes().to_vec();
            ignore(&mut bytes);
            assert_eq!(bytes.len(), head.len());
            String::from_utf8(bytes).unwrap()
        };
        for (line, expected) in [
            ("Connection: upgrade", "Connection:        "),
            ("connection:keep-alive , Upgrade", "connection:keep-alive ,        "),
            ("Connection: Upgrade, HTTP2-Settings", "Connection:        , HTTP2-Settings"),
            ("CONNECTION: close,UPGRADE,x", "CONNECTION: close,       ,x"),
            ("UPGRADE: websocket, h2c", "UPGRADE:               "),
            ("upgrade: a\u{1}b", "upgrade:  \u{1} "),
            ("connection: upgrades", "connection: upgrades"),
            ("upgrade-insecure-requests: 1", "upgrade-insecure-requests: 1"),
            ("x-connection: upgrade", "x-connection: upgrade"),
            ("x: connection: upgrade", "x: connection: upgrade"),
        ] {
            for end in ["\r\n", "\n"] {
                let head = |line: &str| format!("GET /upgrade HTTP/1.1{end}{line}{end}host: x{end}{end}");
                assert_eq!(without(&head(line)), head(expected));
            }
        }
    }
}
