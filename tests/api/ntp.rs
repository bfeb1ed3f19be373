//! Guards time from NTP servers, asked over UDP (RFC 5905).

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;

use crate::support::{TestServer, User, by_password, claims, command, eventually, in_time, password_of, until};

const HOUR: i64 = 3600;
/// How far a timestamp may be off: what a request takes on a busy machine.
const TOLERANCE: i64 = 30;
/// Seconds from NTP's epoch, 1900, to Unix's.
const FROM_1900: i64 = 2_208_988_800;

/// How an NTP server of a test answers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    Honest,
    /// Not to the question that was asked: the originate timestamp is another.
    Spoofed,
    /// As a server that does not know the time itself.
    Unsynchronized,
    /// As a client or another kind of peer would.
    WrongMode,
    /// With half a packet.
    Short,
    Silent,
}

/// An NTP server whose clock is off by so many seconds. It has a thread of its own, for an answer counts for some seconds
/// only.
pub struct NtpServer {
    address: SocketAddr,
    questions: Arc<AtomicUsize>,
}

impl NtpServer {
    pub fn start(off_by: i64) -> Self {
        Self::with(off_by, Manner::Honest)
    }

    fn with(off_by: i64, manner: Manner) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let questions = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&questions);
        std::thread::spawn(move || {
            let mut question = [0; 128];
            loop {
                let (length, from) = socket.recv_from(&mut question).unwrap();
                if length == 0 {
                    return;
                }
                // Mode 3, a client, of version 3 or 4.
                assert!(length >= 48 && question[0] & 7 == 3 && [3, 4].contains(&(question[0] >> 3 & 7)));
                count.fetch_add(1, Ordering::SeqCst);
                if manner != Manner::Silent {
                    let answer = answer(&question, off_by, manner);
                    let length = if manner == Manner::Short { 24 } else { 48 };
                    socket.send_to(&answer[..length], from).unwrap();
                }
            }
        });
        Self { address, questions }
    }

    /// The flag by which a server asks it alone.
    pub fn flag(&self) -> String {
        format!("--ntp_servers={}", self.address)
    }

    /// Its address, with a name for the host.
    pub fn named(&self, host: &str) -> String {
        format!("{host}:{}", self.address.port())
    }

    fn questions(&self) -> usize {
        self.questions.load(Ordering::SeqCst)
    }
}

impl Drop for NtpServer {
    fn drop(&mut self) {
        // Nothing at all ends its thread.
        let _ = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.send_to(&[], self.address));
    }
}

/// RFC 5905, section 7.3.
fn answer(question: &[u8], off_by: i64, manner: Manner) -> [u8; 48] {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seconds = u32::try_from(now.as_secs() as i64 + FROM_1900 + off_by).unwrap();
    let fraction = ((u64::from(now.subsec_nanos()) << 32) / 1_000_000_000) as u32;
    let time = [seconds.to_be_bytes(), fraction.to_be_bytes()].concat();
    let mut answer = [0; 48];
    let mode = if manner == Manner::WrongMode { 5 } else { 4 };
    // Leap indicator, the version that was asked with, mode.
    answer[0] = (question[0] & 0b0011_1000) | mode;
    answer[1] = 1;
    if manner == Manner::Unsynchronized {
        answer[0] |= 0b1100_0000;
        answer[1] = 16;
    }
    (answer[2], answer[3]) = (6, 0xec);
    answer[12..16].copy_from_slice(b"TEST");
    answer[16..24].copy_from_slice(&time);
    // Originate: what the client said it was when it asked.
    answer[24..32].copy_from_slice(&question[40..48]);
    if manner == Manner::Spoofed {
        answer[31] ^= 1;
    }
    answer[32..40].copy_from_slice(&time);
    answer[40..48].copy_from_slice(&time);
    answer
}

/// The flag that has servers asked.
pub fn asking(servers: &[&NtpServer]) -> String {
    let addresses: Vec<_> = servers.iter().map(|server| server.address.to_string()).collect();
    format!("--ntp_servers={}", addresses.join(","))
}

async fn start(servers: &[&NtpServer]) -> TestServer {
    TestServer::start_with(&[&asking(servers)]).await
}

/// Stops a server and starts another one on its database.
async fn start_again(server: TestServer, flags: &[&str]) -> TestServer {
    let flags: Vec<_> = flags.iter().map(ToString::to_string).collect();
    server.end_and_restart_with(move |directory| command(&flags, directory)).await
}

/// By how many seconds the server's clock differs from this machine's.
async fn off_by(user: &User) -> i64 {
    let answer = user.try_insert("time", json!(null)).await.ok();
    let millis = answer.json()["timestamp"].as_i64().unwrap();
    millis / 1000 - SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64
}

/// Awaits that the clock is off by so many seconds.
async fn follows(user: &User, seconds: i64) {
    until("the clock to follow", async || ((off_by(user).await - seconds).abs() <= TOLERANCE).then_some(())).await;
}

/// A user whose token lasts whatever the clock does.
async fn user(server: &TestServer) -> User {
    server.client().create_user("alice", "acme").await;
    alice_of(server)
}

/// Alice, by her password.
fn alice_of(server: &TestServer) -> User {
    by_password(&server.client(), "alice", &password_of("alice"))
}

#[tokio::test]
async fn the_clock_follows_the_one_server_that_is_trusted_ahead_and_behind() {
    for seconds in [HOUR, -HOUR, 20 * HOUR] {
        let ntp = NtpServer::start(seconds);
        let server = start(&[&ntp]).await;
        let alice = user(&server).await;
        follows(&alice, seconds).await;
        server.says("the clock was wrong and is set").await;
        assert_eq!(ntp.questions(), 1, "one question is enough for ten minutes");
    }
}

#[tokio::test]
async fn tokens_begin_and_end_by_this_clock() {
    let ntp = NtpServer::start(-HOUR);
    let server = TestServer::start_with(&[&format!("--ntp_servers={}", ntp.address), "--jwt_expiry=12"]).await;
    follows(&user(&server).await, -HOUR).await;
    let alice = server.client().sign_in("alice").await;
    let claims = claims(alice.jwt());
    let (iat, exp) = (claims["iat"].as_i64().unwrap(), claims["exp"].as_i64().unwrap());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
    assert!((iat - (now - HOUR)).abs() <= TOLERANCE, "{iat}, an hour before {now}");
    assert_eq!(exp, iat + 12);
    // By this machine's clock it has long expired.
    alice.verify().await.ok();
    let mut stream = alice.stream().await;
    assert_eq!(stream.next().await.name, "time");
    assert_eq!(stream.rest().await, []);
    assert_eq!(alice.verify().await.status, 401);
}

#[tokio::test]
async fn of_several_servers_one_that_is_an_hour_off_is_not_believed() {
    for wrong in [HOUR, -HOUR] {
        let (lying, right, also_right) = (NtpServer::start(wrong), NtpServer::start(0), NtpServer::start(0));
        let server = start(&[&lying, &right, &also_right]).await;
        let alice = user(&server).await;
        server.says("this NTP server's time is too far off to be believed alone").await;
        server.says("the clock is corrected").await;
        assert!(off_by(&alice).await.abs() <= TOLERANCE);
        assert_eq!((lying.questions(), right.questions()), (1, 1));
    }
}

#[tokio::test]
async fn a_time_on_which_two_servers_agree_is_believed_however_far_off() {
    let (one, two) = (NtpServer::start(HOUR), NtpServer::start(HOUR));
    let server = start(&[&one, &two]).await;
    follows(&user(&server).await, HOUR).await;
}

#[tokio::test]
async fn two_servers_that_are_far_off_in_different_ways_do_not_move_the_clock() {
    let (one, two) = (NtpServer::start(HOUR), NtpServer::start(-HOUR));
    let server = start(&[&one, &two]).await;
    let alice = user(&server).await;
    eventually("both to be asked", || server.log().matches("too far off to be believed alone").count() == 2).await;
    assert!(off_by(&alice).await.abs() <= TOLERANCE);
}

#[tokio::test]
async fn an_answer_that_is_none_to_the_question_is_not_believed() {
    for manner in [Manner::Spoofed, Manner::Unsynchronized, Manner::WrongMode, Manner::Short] {
        let ntp = NtpServer::with(HOUR, manner);
        let server = start(&[&ntp]).await;
        let alice = user(&server).await;
        server.says("this NTP server gave no time").await;
        assert!(off_by(&alice).await.abs() <= TOLERANCE);
        assert_eq!(ntp.questions(), 1);
    }
}

#[tokio::test]
async fn a_server_that_never_answers_delays_neither_the_start_nor_a_request_and_the_next_is_asked() {
    in_time("a request while the answer is waited for", the_next_is_asked).await;
}

/// Nothing where the server had given up waiting before the request.
async fn the_next_is_asked() -> Option<()> {
    let (silent, right) = (NtpServer::with(0, Manner::Silent), NtpServer::start(HOUR));
    let agrees = NtpServer::start(HOUR);
    // The user is there already: whatever takes long is done before the question.
    let server = TestServer::start().await;
    user(&server).await.verify().await.ok();
    let server = start_again(server, &[&asking(&[&silent, &right, &agrees])]).await;
    let alice = alice_of(&server);
    eventually("the question", || silent.questions() == 1).await;
    // The answer is being waited for, and the local clock serves.
    let off_by = off_by(&alice).await;
    if server.log_up_to_now(&alice.client).await.contains("this NTP server gave no time") {
        return None;
    }
    assert!(off_by.abs() <= TOLERANCE, "{off_by}");
    server.says("this NTP server gave no time").await;
    follows(&alice, HOUR).await;
    Some(())
}

#[tokio::test]
async fn a_name_that_leads_nowhere_or_a_port_where_nobody_is_does_no_harm() {
    let nobody = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let right = NtpServer::start(0);
    let servers = format!("--ntp_servers= {nobody} ,, host.invalid:1,{}", right.address);
    let server = TestServer::start_with(&[&servers]).await;
    server.says("the clock is corrected").await;
    assert_eq!(server.log().matches("this NTP server gave no time").count(), 2);
    assert!(off_by(&user(&server).await).await.abs() <= TOLERANCE);
}

#[tokio::test]
async fn without_servers_the_local_clock_serves_with_one_warning() {
    let server = TestServer::start_with(&["--ntp_servers="]).await;
    assert!(off_by(&user(&server).await).await.abs() <= TOLERANCE);
    server.says("no NTP server is set: the local clock is trusted").await;
    let log = server.log();
    let warnings: Vec<_> = log.lines().filter(|line| line.contains(r#""level":"WARN""#)).collect();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("no NTP server is set"), "{warnings:?}");
}

#[tokio::test]
async fn without_servers_a_step_cannot_be_accepted_and_the_log_says_so() {
    let server = TestServer::start_with(&["--ntp_servers=", "--accept_clock_step"]).await;
    server.says("accept_clock_step does nothing without an NTP server").await;
}

const DAY: i64 = 24 * HOUR;
const STAYS: &str = "restart once with --accept_clock_step";

#[tokio::test]
async fn a_step_of_more_than_a_day_is_not_made_however_many_agree_on_it() {
    let fifty_years = -50 * 365 * DAY;
    for (seconds, servers) in [(400 * DAY, 2), (-400 * DAY, 3), (fifty_years, 1), (400 * DAY, 1)] {
        let mut ntp = Vec::new();
        for _ in 0..servers {
            ntp.push(NtpServer::start(seconds));
        }
        let server = start(&ntp.iter().collect::<Vec<_>>()).await;
        let alice = user(&server).await;
        server.says(STAYS).await;
        assert!(off_by(&alice).await.abs() <= TOLERANCE);
        let log = server.log();
        let is_warned = |line: &&str| line.contains(STAYS) && line.contains(r#""level":"WARN""#);
        assert_eq!(log.lines().filter(is_warned).count(), 1, "it is said once at a level that is seen: {log}");
    }
}

#[tokio::test]
async fn one_that_is_right_is_believed_though_two_agree_on_a_step() {
    let lying = [NtpServer::start(400 * DAY), NtpServer::start(400 * DAY)];
    let right = NtpServer::start(-1);
    let server = start(&[&lying[0], &lying[1], &right]).await;
    server.says("the clock is corrected").await;
    assert!(off_by(&user(&server).await).await.abs() <= TOLERANCE);
}

#[tokio::test]
async fn with_the_flag_the_step_is_made_and_at_the_next_start_it_is_none() {
    let ntp = [NtpServer::start(400 * DAY), NtpServer::start(400 * DAY)];
    let flag = asking(&[&ntp[0], &ntp[1]]);
    let server = start(&[&ntp[0], &ntp[1]]).await;
    let kept = json!({ "event": "kept", "data": 1, "expires_in": 30 * 24 * 3600 });
    user(&server).await.insert_raw(kept.to_string()).await.ok();
    server.says(STAYS).await;
    let server = start_again(server, &[&flag, "--accept_clock_step"]).await;
    let alice = alice_of(&server);
    follows(&alice, 400 * DAY).await;
    server.says("accept_clock_step is set").await;
    // It is what everything goes by now, and the newest time in the database says so.
    let server = start_again(server, &[&flag]).await;
    follows(&alice_of(&server), 400 * DAY).await;
    let log = server.log_up_to_now(&server.client()).await;
    assert!(!log.contains(STAYS), "{log}");
    // The true time is a step then.
    let right = NtpServer::start(0);
    let server = start_again(server, &[&asking(&[&right])]).await;
    server.says("the local clock is earlier than the newest change in the database").await;
}

#[tokio::test]
async fn after_a_pause_of_years_nothing_expires_before_the_servers_were_asked() {
    // The local clock is of today; the database, and the server, of 400 days ago.
    let ntp = [NtpServer::start(-400 * DAY), NtpServer::start(-400 * DAY)];
    let flag = asking(&[&ntp[0], &ntp[1]]);
    let server = TestServer::start_with(&[&flag, "--accept_clock_step"]).await;
    let alice = user(&server).await;
    follows(&alice, -400 * DAY).await;
    let kept = json!({ "event": "kept", "data": 1, "expires_in": 30 * 24 * 3600 });
    alice.insert_raw(kept.to_string()).await.ok();
    let server = start_again(server, &[&flag, "--archive=archive"]).await;
    let alice = alice_of(&server);
    follows(&alice, -400 * DAY).await;
    // Nor is a set of the archive begun before.
    let begun_at = until("a set", async || {
        let names = server.directory().join("archive").read_dir().ok()?.flatten().map(|entry| entry.file_name());
        names.filter_map(|name| name.to_str()?.split_once('-')?.0.parse::<u64>().ok()).next()
    })
    .await;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    assert!(begun_at / 1000 < now - 399 * DAY as u64, "{begun_at} is no time of the servers");
    let latest = alice.get("/events").await.ok().json();
    assert!(latest.as_array().unwrap().iter().any(|event| event["event"] == "kept"), "{latest}");
}

#[tokio::test]
async fn inserts_before_an_ntp_server_answers_do_not_make_a_wrong_local_clock_right() {
    // The local clock is of today, which is 400 days ahead.
    let ntp = [NtpServer::start(-400 * DAY), NtpServer::start(-400 * DAY)];
    let flag = asking(&[&ntp[0], &ntp[1]]);
    let server = TestServer::start_with(&[&flag, "--accept_clock_step"]).await;
    follows(&user(&server).await, -400 * DAY).await;
    // Nobody can be asked: the local clock is gone by, for want of a better one.
    let silent = NtpServer::with(0, Manner::Silent);
    let server = start_again(server, &[&asking(&[&silent])]).await;
    let alice = alice_of(&server);
    assert!(off_by(&alice).await.abs() <= TOLERANCE);
    server.says("this NTP server gave no time").await;
    assert!(off_by(&alice).await.abs() <= TOLERANCE);
    // A server with the right time is believed all the same.
    let server = start_again(server, &[&flag]).await;
    follows(&alice_of(&server), -400 * DAY).await;
    let log = server.log_up_to_now(&server.client()).await;
    assert!(!log.contains(STAYS), "{log}");
}
