//! Guards sessions by WebSocket where a client would be too slow to show it.

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use super::*;

/// A text as a client sends it, with a mask that changes nothing.
fn frame(text: &str) -> Vec<u8> {
    let length = match text.len() {
        length @ 0..126 => vec![0x80 | length as u8],
        length => [&[0x80 | 126][..], &u16::try_from(length).unwrap().to_be_bytes()].concat(),
    };
    [&[0x81][..], &length, &[0; 4], text.as_bytes()].concat()
}

/// A connection, and what is told when it is served no more.
async fn connect(house: &House) -> (TcpStream, oneshot::Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (socket, accepted) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
    let opens = Request { transport: Some("websocket"), is_upgrade: true, ..request(Method::Get, None) };
    let Ok(Call::WebSocket(call)) = house.call(opens) else { panic!("it is refused") };
    let settings = ws::Settings {
        max_message_bytes: call.max_bytes(),
        compression: ws::Compression::default(),
        times: ws::Times::default(),
    };
    let (ended, ends) = oneshot::channel();
    let app = house.app.clone();
    tokio::task::spawn_local(ws::run(
        Box::new(accepted.unwrap().0),
        Vec::new(),
        Bytes::new(),
        settings,
        |inlet, outlet| async {
            call.run(app, inlet, outlet).await;
            let _ = ended.send(());
        },
    ));
    (socket.unwrap(), ends)
}

#[test]
fn a_session_that_ends_does_not_wait_for_a_client_that_reads_nothing() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let house = House { engine: SocketIo::new(Settings::default(), ids), app: Echo::default() };
        let (mut socket, ends) = connect(&house).await;
        socket.write_all(&frame("40")).await.unwrap();
        let event = frame(&format!("42[\"message\",\"{}\"]", "x".repeat(60_000)));
        // Until nothing more is read: what the session has to say has filled all that is between here and there.
        while let Ok(written) = tokio::time::timeout(seconds(1), socket.write_all(&event)).await {
            written.unwrap();
        }
        house.engine.stop();
        tokio::time::timeout(seconds(60), ends).await.expect("it ends").unwrap();
        assert_eq!(house.app.sockets.load(std::sync::atomic::Ordering::Relaxed), 0);
    });
}
