//! Guards the memory that bodies can take over HTTP/2.

use base64::Engine;
use bytes::Bytes;
use h2::client::Builder;
use tokio::io::AsyncReadExt;

use super::Secure;
use super::http2::{PREFACE, connect, frame};
use crate::support::{send_all, within};

/// The frame that says goodbye, and the code for a client that does too much (RFC 9113, sections 6.8 and 7).
const GOAWAY: u8 = 7;
const ENHANCE_YOUR_CALM: u32 = 11;

#[tokio::test]
async fn bodies_in_pieces_of_a_byte_that_nobody_reads_yet_end_their_connection() {
    let secure = Secure::start().await;
    let connection = secure.connect("h2").await;
    let (mut read, mut write) = tokio::io::split(connection);
    // The body waits while the password is checked.
    let password = base64::engine::general_purpose::STANDARD.encode("nobody:a wrong password");
    let authorization = format!("Basic {password}");
    let head = [
        &[0x83, 0x87, 0x04, 7][..],
        b"/insert",
        &[0x41, 1, b'x', 0x0f, 8, authorization.len() as u8],
        authorization.as_bytes(),
    ]
    .concat();
    let bytes = [PREFACE, &frame(1, 4, 1, &head), &frame(0, 0, 1, b"x").repeat(30_000)].concat();
    let (_, mut came) = (send_all(&mut write, &bytes).await, Vec::new());
    let _ = within("the end", read.read_to_end(&mut came)).await;
    let mut rest = &came[..];
    loop {
        assert!(rest.len() >= 9, "it ended without a goodbye that tells why");
        let length = u32::from_be_bytes([0, rest[0], rest[1], rest[2]]) as usize;
        if rest[3] == GOAWAY {
            let code = u32::from_be_bytes(rest[13..17].try_into().unwrap());
            break assert_eq!(code, ENHANCE_YOUR_CALM);
        }
        rest = &rest[9 + length..];
    }
}

#[tokio::test]
async fn a_body_in_many_small_pieces_that_is_read_is_taken_again_and_again() {
    let secure = Secure::start().await;
    secure.client().create_user("alice", "acme").await;
    let alice = secure.client().sign_in("alice").await;
    let mut connection = connect(&secure, &Builder::new()).await;
    for number in 0..4 {
        let request = http::Request::post("https://localhost/insert").header("authorization", &alice.authorization);
        let (answer, mut body) = connection.requests.send_request(request.body(()).unwrap(), false).unwrap();
        for byte in format!(r#"{{"event":"a{number}","data":"{}"}}"#, "x".repeat(600)).into_bytes() {
            body.send_data(Bytes::from(vec![byte]), false).unwrap();
        }
        body.send_data(Bytes::new(), true).unwrap();
        assert_eq!(within("an answer", answer).await.unwrap().status().as_u16(), 200);
    }
}
