//! Guards streams beside replies, without TLS and with it, where what was taken may not have been sent.

use broker::config::Origins;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{EchoServer, asks};
use crate::support::{RawSocket, frame, text_frame};

#[tokio::test]
async fn a_stream_and_replies_come_whole_to_a_client_that_is_slow() {
    let server = EchoServer::start();
    reads_slowly(RawSocket::connect(&server).await).await;
}

#[tokio::test]
async fn a_stream_and_replies_come_whole_to_a_client_that_is_slow_over_tls() {
    let server = EchoServer::start_with_tls(Origins::Any);
    reads_slowly(RawSocket::connect_with_tls(&server).await).await;
}

/// Has much come before it reads. Then it asks between the frames of the stream, and says goodbye.
async fn reads_slowly(mut raw: RawSocket<impl AsyncRead + AsyncWrite + Unpin>) {
    raw.send(asks().replace("/echo", "/stream").as_bytes()).await;
    assert!(raw.head().await.starts_with("HTTP/1.1 101 "));
    let (mut numbers, mut asked, mut answered) = (0, 0, 0);
    raw.send(&text_frame("0")).await;
    while numbers < 100 || answered <= asked {
        let (first, payload) = raw.frame().await.expect("the connection goes on");
        match first {
            0x82 => {
                assert!(payload.len() == 200_001 && payload[..200_000].iter().all(|byte| *byte == b's'), "it was cut");
                assert_eq!(payload[200_000], numbers);
                numbers += 1;
                if numbers % 10 == 0 {
                    asked += 1;
                    raw.send(&text_frame(&asked.to_string())).await;
                }
            }
            _ => {
                assert_eq!((first, payload), (0x81, answered.to_string().into_bytes()));
                answered += 1;
            }
        }
    }
    raw.send(&frame(0x88, b"")).await;
    assert_eq!(raw.frame().await, Some((0x88, Vec::new())));
    assert_eq!(raw.frame().await, None);
}
