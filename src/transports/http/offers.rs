//! Offers to switch protocols on an HTTP/1 connection (RFC 9110, section 7.8). Only WebSocket is ever accepted, where there is one.

use memchr::memchr;

/// Overwrites them with blanks in a request's head, so that nothing moves. Returns whether WebSocket is offered, which a handler may
/// accept.
///
/// Closes this fault: if a proxy sends `connection: upgrade` with every request, or a client offers HTTP/2 without
/// TLS, actix closes the connection after the answer without saying so, and requests sent meanwhile are lost; and if
/// WebSocket is offered, it treats the body as the new protocol's data.
pub fn take(head: &mut [u8]) -> bool {
    let (mut begin, mut is_upgrade, mut is_websocket) = (0, false, false);
    // Every head is scanned, and nearly none has an offer.
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
            is_websocket |= options(value).any(|option| option.eq_ignore_ascii_case(b"websocket"));
            blank(value);
        } else if name.eq_ignore_ascii_case(b"connection") {
            is_upgrade |= options(value).any(|option| option.eq_ignore_ascii_case(b"upgrade"));
            let options = value.split_mut(|byte| *byte == b',');
            options.filter(|option| option.trim_ascii().eq_ignore_ascii_case(b"upgrade")).for_each(blank);
        }
    }
    is_upgrade && is_websocket
}

/// The options in a list.
fn options(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

/// Characters that a header must not contain stay, so that it is refused.
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
            take(&mut bytes);
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

    #[test]
    fn websocket_is_offered_by_two_headers_together() {
        for (lines, expected) in [
            ("Connection: Upgrade\r\nUpgrade: websocket", true),
            ("upgrade: h2c , WebSocket\r\nconnection: keep-alive, upgrade", true),
            ("Connection: Upgrade\r\nUpgrade: h2c", false),
            ("Connection: Upgrade\r\nUpgrade: websockets", false),
            ("Connection: keep-alive\r\nUpgrade: websocket", false),
            ("Upgrade: websocket", false),
            ("x-connection: upgrade\r\nUpgrade: websocket", false),
        ] {
            let mut head = format!("GET /upgrade HTTP/1.1\r\n{lines}\r\nhost: x\r\n\r\n").into_bytes();
            assert_eq!(take(&mut head), expected, "{lines}");
        }
    }
}
