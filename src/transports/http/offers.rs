//! Offers to switch protocols on an HTTP/1 connection (RFC 9110, section 7.8). Broker accepts none and ignores them.

use memchr::memchr;

/// Overwrites them with blanks in a request's head, so that nothing moves.
///
/// Closes this fault: if a proxy sends `connection: upgrade` with every request, or a client offers HTTP/2 without
/// TLS, actix closes the connection after the answer without saying so, and requests sent meanwhile are lost; and if
/// WebSocket is offered, it treats the body as the new protocol's data.
pub fn ignore(head: &mut [u8]) {
    let mut begin = 0;
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
            blank(value);
        } else if name.eq_ignore_ascii_case(b"connection") {
            let options = value.split_mut(|byte| *byte == b',');
            options.filter(|option| option.trim_ascii().eq_ignore_ascii_case(b"upgrade")).for_each(blank);
        }
    }
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
