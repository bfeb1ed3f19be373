//! Guards clients of MQTT that nobody here wrote, in every version of the protocol that they speak: by token and by password, over TCP and
//! WebSocket, with and without TLS.

use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use super::super::support::{Saying, TestServer, User, password_of, until, within};
use super::super::tls::Secure;
use super::server_with;

/// How long a message may take, in seconds: programs that were not given one end by themselves.
const PATIENCE: &str = "30";

/// What a client shows: a username and a password.
fn credentials(alice: &User) -> [(&'static str, String); 2] {
    [("JWT", alice.jwt().to_owned()), ("alice", password_of("alice"))]
}

/// Runs a client at each of these places in each of these versions, by token and by password. Each run has topics of its own.
async fn is_served(alice: &User, root: Option<&Path>, program: &[&str], places: &[String], levels: &[&str]) {
    for (place, level) in places.iter().flat_map(|place| levels.iter().map(move |level| (place, level))) {
        for (username, password) in credentials(alice) {
            let prefix = format!("{}/{}/{level}/{username}/", program[0], place.split(':').next().unwrap());
            let of_run = [place.as_str(), level, username, &password, &prefix];
            let mut running = Saying::trusting(root, program[0], &[&program[1..], &of_run].concat());
            assert_eq!(running.next().await, "done", "{program:?} at {place}, {level} as {username}");
        }
    }
}

/// Where a server without TLS is: for clients that speak over WebSocket, too.
fn places(server: &TestServer) -> [String; 2] {
    [format!("mqtt://{}", server.mqtt()), format!("ws://{}/mqtt", server.address())]
}

/// The same with TLS.
fn secure_places(server: &TestServer) -> [String; 2] {
    [format!("mqtts://{}", server.mqtts()), format!("wss://{}/mqtt", server.address())]
}

/// A server with TLS, and the file with the root that its clients are to trust.
async fn secure() -> (Secure, User, std::path::PathBuf) {
    let secure = Secure::start_with(&["--mqtts_port=0"]).await;
    let client = secure.client();
    client.create_user("alice", "acme").await.ok();
    let root = secure.server.directory().join("root.pem");
    std::fs::write(&root, secure.authority.root()).unwrap();
    let alice = client.sign_in("alice").await;
    (secure, alice, root)
}

#[tokio::test]
async fn mqtt_js_5_is_served() {
    let (server, alice) = server_with(&[]).await;
    is_served(&alice, None, &["mqtt.mjs", "mqtt"], &places(&server), &["3", "4", "5"]).await;
}

#[tokio::test]
async fn mqtt_js_2_is_served() {
    let (server, alice) = server_with(&[]).await;
    is_served(&alice, None, &["mqtt.mjs", "mqtt2"], &places(&server), &["3", "4"]).await;
}

#[tokio::test]
async fn mqtt_js_is_served_over_tls() {
    let (secure, alice, root) = secure().await;
    let places = secure_places(&secure.server);
    is_served(&alice, Some(&root), &["mqtt.mjs", "mqtt"], &places, &["4", "5"]).await;
    is_served(&alice, Some(&root), &["mqtt.mjs", "mqtt2"], &places, &["4"]).await;
}

#[tokio::test]
async fn paho_is_served() {
    let (server, alice) = server_with(&[]).await;
    is_served(&alice, None, &["mqtt_paho.py"], &places(&server), &["3", "4", "5"]).await;
}

#[tokio::test]
async fn paho_aiomqtt_and_gmqtt_are_served_over_tls() {
    let (secure, alice, root) = secure().await;
    let places = secure_places(&secure.server);
    is_served(&alice, Some(&root), &["mqtt_paho.py"], &places, &["4", "5"]).await;
    is_served(&alice, Some(&root), &["mqtt_aio.py"], &places[..1], &["5"]).await;
    is_served(&alice, Some(&root), &["mqtt_gmqtt.py"], &places[..1], &["5"]).await;
}

#[tokio::test]
async fn aiomqtt_is_served() {
    let (server, alice) = server_with(&[]).await;
    is_served(&alice, None, &["mqtt_aio.py"], &places(&server)[..1], &["3", "4", "5"]).await;
}

#[tokio::test]
async fn gmqtt_is_served() {
    let (server, alice) = server_with(&[]).await;
    is_served(&alice, None, &["mqtt_gmqtt.py"], &places(&server)[..1], &["4", "5"]).await;
}

#[tokio::test]
async fn sequences_of_packets_by_mqtt_packet_are_answered_as_they_should_be() {
    let (server, alice) = server_with(&[]).await;
    is_served(&alice, None, &["mqtt-packets.mjs"], &[server.mqtt()], &["3", "4", "5"]).await;
}

/// A program of mosquitto, which knows a server, an account and more arguments.
fn mosquitto(program: &str, at: &str, (username, password): (&str, &str), arguments: &[&str]) -> Command {
    let (host, port) = at.split_once(':').unwrap();
    let mut command = Command::new(program);
    command.args(["-h", host, "-p", port, "-u", username, "-P", password]).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// What a program of mosquitto says until it ends well.
async fn said(program: Child) -> String {
    let output = within("mosquitto", program.wait_with_output()).await.unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// The next line that a program says.
async fn line(lines: &mut Lines<BufReader<ChildStdout>>) -> String {
    within("a line of mosquitto", lines.next_line()).await.unwrap().expect("it goes on")
}

#[tokio::test]
async fn mosquitto_pub_and_mosquitto_sub_are_served() {
    let (server, alice) = server_with(&[]).await;
    let at = server.mqtt();
    for version in ["mqttv31", "mqttv311", "mqttv5"] {
        for (username, password) in credentials(&alice) {
            let login = (username, password.as_str());
            let topic = |name: &str| format!("{version}/{username}/{name}");
            let publish = async |name: &str, arguments: &[&str]| {
                let name = topic(name);
                let all = [&["-V", version, "-t", &name][..], arguments].concat();
                said(mosquitto("mosquitto_pub", &at, login, &all).spawn().unwrap()).await;
            };
            for qos in ["0", "1", "2"] {
                let retained = format!("retained {qos}");
                publish("light/1", &["-m", &retained, "-q", qos, "-r"]).await;
                // Of QoS 0, its publisher is not told when it is taken.
                until("the retained message", async || {
                    let latest = alice.latest(&format!("/events?events={}", topic("light/1"))).await;
                    latest.iter().any(|event| event.data.contains(&retained)).then_some(())
                })
                .await;
                let filter = topic("light/+");
                let arguments = ["-V", version, "-t", &filter, "-q", qos, "-C", "2", "-W", PATIENCE];
                let all = [&arguments[..], &["-F", "%t %p %q %r"]].concat();
                let mut subscriber = mosquitto("mosquitto_sub", &at, login, &all).spawn().unwrap();
                let mut lines = BufReader::new(subscriber.stdout.take().unwrap()).lines();
                // Its retained message says that it is subscribed.
                assert_eq!(line(&mut lines).await, format!("{} {retained} {qos} 1", topic("light/1")));
                publish("light/2", &["-m", "live", "-q", qos]).await;
                assert_eq!(line(&mut lines).await, format!("{} live {qos} 0", topic("light/2")));
                said(subscriber).await;
            }
            publish("light/1", &["-n", "-r", "-q", "1"]).await;
            let latest = alice.latest(&format!("/events?events={}", topic("light/1"))).await;
            assert!(latest.is_empty(), "{latest:?}");
        }
    }
}

#[tokio::test]
async fn mosquitto_shows_the_properties_of_a_message_and_leaves_a_will() {
    let (server, alice) = server_with(&[]).await;
    let (at, login) = (server.mqtt(), ("JWT", alice.jwt()));
    let properties =
        "-D PUBLISH content-type text/plain -D PUBLISH user-property from there -D PUBLISH response-topic answers";
    let all: Vec<_> = "-V mqttv5 -t asked -m what? -q 1 -r".split(' ').chain(properties.split(' ')).collect();
    said(mosquitto("mosquitto_pub", &at, login, &all).spawn().unwrap()).await;
    let all = ["-V", "mqttv5", "-t", "asked", "-C", "1", "-W", PATIENCE, "-F", "%C %P %R"];
    let seen = said(mosquitto("mosquitto_sub", &at, login, &all).spawn().unwrap()).await;
    assert_eq!(seen, "text/plain from:there answers\n");

    let all = "-V mqttv311 -t asked --will-topic gone --will-payload bye --will-qos 1 --will-retain".split(' ');
    let mut last = mosquitto("mosquitto_sub", &at, login, &all.collect::<Vec<_>>()).spawn().unwrap();
    let mut lines = BufReader::new(last.stdout.take().unwrap()).lines();
    assert_eq!(line(&mut lines).await, "what?");
    let mut stream = alice.stream_of("/sse?events=gone", None).await;
    last.kill().await.unwrap();
    assert_eq!(stream.next().await.data, r#""bye""#);
    // Who may not be here is told so.
    let refused = mosquitto("mosquitto_pub", &at, ("JWT", "wrong"), &["-t", "a", "-m", "b"]).output();
    let refused = within("mosquitto", refused).await.unwrap();
    let errors = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && errors.contains("bad user name or password"), "{errors}");
}

#[tokio::test]
async fn mosquitto_is_served_over_tls() {
    let (secure, alice, root) = secure().await;
    let (at, login) = (secure.server.mqtts(), ("JWT", alice.jwt()));
    let root = root.to_str().unwrap();
    let all = ["--cafile", root, "-V", "mqttv311", "-t", "a", "-m", "1", "-q", "1", "-r"];
    said(mosquitto("mosquitto_pub", &at, login, &all).spawn().unwrap()).await;
    let all = ["--cafile", root, "-V", "mqttv5", "-t", "#", "-C", "1", "-W", PATIENCE];
    assert_eq!(said(mosquitto("mosquitto_sub", &at, login, &all).spawn().unwrap()).await, "1\n");
}
