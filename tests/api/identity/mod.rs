//! Guards sign-in, second factors, resets and tokens, tried as an attacker would.

mod audit;
mod basic;
mod names;
mod passwords;
mod proxies;
mod races;
mod throttle;
mod tokens;
mod two_factor;

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use totp_rs::{Builder, Secret, Totp};

use crate::support::{
    Answer, Client, TestServer, by_password, password_of, reset, reset_code, revoke, unrevoke, update,
};

/// How long a code of an authenticator app holds, in seconds.
const STEP: u64 = 30;

/// Somebody's authenticator app, which has scanned their QR code.
pub struct Authenticator {
    /// What was in the QR code.
    pub url: String,
    totp: Totp,
}

impl Authenticator {
    pub async fn scan(client: &Client, username: &str, issuer: &str) -> Self {
        let body = json!({ "username": username, "issuer": issuer });
        Self::scanned(client.admin("/create_qr", body).await.ok().json()["qr"].as_str().unwrap())
    }

    /// Scans a PNG in base64.
    pub fn scanned(qr: &str) -> Self {
        let png = BASE64_STANDARD.decode(qr).unwrap();
        let picture = image::load_from_memory_with_format(&png, image::ImageFormat::Png).unwrap().to_luma8();
        let (width, height) = (picture.width() as usize, picture.height() as usize);
        let mut seen = rqrr::PreparedImage::prepare_from_greyscale(width, height, |x, y| {
            picture.get_pixel(x as u32, y as u32).0[0]
        });
        let (_, url) = seen.detect_grids()[0].decode().unwrap();
        Self::of(&url)
    }

    /// With what stands in the QR code.
    pub fn of(url: &str) -> Self {
        let secret = Secret::try_from_base32(secret_of(url)).unwrap();
        Self { url: url.to_owned(), totp: Builder::new().with_secret(secret).build().unwrap() }
    }

    /// The secret in base 32.
    pub fn secret(&self) -> &str {
        secret_of(&self.url)
    }

    /// The code of a step.
    pub fn code(&self, step: u64) -> String {
        self.totp.generate(step * STEP).to_string()
    }

    /// A code that is none of those that hold now or soon.
    pub fn wrong_code(&self) -> String {
        let near: Vec<_> = (step() - 2..step() + 3).map(|step| self.code(step)).collect();
        (0..).map(|n| format!("{n:06}")).find(|code| !near.contains(code)).unwrap()
    }
}

fn secret_of(url: &str) -> &str {
    url.split_once("secret=").unwrap().1.split('&').next().unwrap()
}

/// The time step of now.
pub fn step() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() / STEP
}

/// A user with two-factor on, and their authenticator.
pub async fn with_two_factor(client: &Client, username: &str) -> Authenticator {
    client.create_user_with(username, "acme", json!({ "two_factor": true })).await.ok();
    Authenticator::scan(client, username, "Acme").await
}

pub async fn login_with(client: &Client, username: &str, password: &str, code: &str) -> Answer {
    client.post("/login", &json!({ "username": username, "password": password, "totp": code })).await
}

/// Signs in with the password that the user was made with.
pub async fn login_with_code(client: &Client, username: &str, code: &str) -> Answer {
    login_with(client, username, &password_of(username), code).await
}

/// Asks to sign in on a connection of its own, and leaves the answer to come. When it is dropped the server learns of it at
/// once, by a reset.
async fn begin_sign_in(server: &TestServer, username: &str, password: &str) -> TcpStream {
    let mut connection = TcpStream::connect(server.address()).await.unwrap();
    let body = json!({ "username": username, "password": password }).to_string();
    let head = format!("POST /login HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len());
    connection.write_all((head + &body).as_bytes()).await.unwrap();
    connection.set_zero_linger().unwrap();
    connection
}

/// The lines of the log with this target.
fn lines(server: &TestServer, target: &str) -> Vec<Value> {
    let lines = server.log();
    let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["target"] == target).collect()
}

/// `door`, `user` and `outcome` of the logged attempts, in order.
fn visits(server: &TestServer) -> Vec<[String; 3]> {
    let visits = lines(server, "broker::access");
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    visits.iter().map(|line| ["door", "user", "outcome"].map(|field| text(&line[field]))).collect()
}

/// Six digits, but others.
pub fn other_than(code: &str) -> String {
    format!("{:06}", (code.parse::<u32>().unwrap() + 1) % 1_000_000)
}

/// The processor time that the server has used, in the system's ticks: unlike a clock, it does not run while the server
/// waits.
pub fn ticks(server: &TestServer) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", server.pid())).unwrap();
    // The second field is a name in parentheses; user and system time are the 14th and 15th.
    let fields: Vec<_> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}
