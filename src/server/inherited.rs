//! Sockets on which the service manager listens for the server, so that connections wait while there is none (systemd.socket(5),
//! sd_listen_fds(3)).

use std::net::TcpListener;

use listenfd::ListenFd;

use crate::config::variable;

/// Of HTTP or HTTPS, as the server is configured.
pub const HTTP: &str = "http";
/// Of MQTT without TLS.
pub const MQTT: &str = "mqtt";
/// Of MQTT with TLS.
pub const MQTTS: &str = "mqtts";

/// The sockets that the process was started with, by their names (`FileDescriptorName=`).
#[derive(Debug, Default)]
pub struct Inherited(Vec<(String, TcpListener)>);

impl Inherited {
    /// Takes them. Call it while the process has one thread: it removes the variables that tell of them, so that no other process takes
    /// them for its own.
    ///
    /// # Errors
    /// A text that says what to change.
    pub fn take() -> Result<Self, String> {
        // Without it they may be meant for another process.
        if variable("LISTEN_PID").is_none() {
            return Ok(Self::default());
        }
        let names = variable("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let mut descriptors = ListenFd::from_env();
        let mut sockets = Vec::new();
        for number in 0..descriptors.len() {
            let name = names.next().unwrap_or_default();
            let refused = |why: String| format!("the socket {name:?} of the service manager cannot be used: {why}");
            if ![HTTP, MQTT, MQTTS].contains(&name) {
                return Err(refused(format!("FileDescriptorName= must be {HTTP}, {MQTT} or {MQTTS}")));
            }
            let socket = descriptors.take_tcp_listener(number).map_err(|error| refused(error.to_string()))?;
            sockets.extend(socket.map(|socket| (name.to_owned(), socket)));
        }
        Ok(Self(sockets))
    }

    /// Takes out those with a name.
    pub fn named(&mut self, name: &str) -> Vec<TcpListener> {
        self.0.extract_if(.., |(of, _)| of == name).map(|(_, socket)| socket).collect()
    }

    /// Whether there are some: whoever connects while no server runs is kept waiting by them.
    pub fn is_some(&self) -> bool {
        !self.0.is_empty()
    }

    /// Checks that none can be reached from elsewhere, for a server that serves this machine alone.
    ///
    /// # Errors
    /// A text that says what to change.
    pub fn check_loopback(&self) -> Result<(), String> {
        let is_local = |socket: &TcpListener| socket.local_addr().is_ok_and(|at| at.ip().to_canonical().is_loopback());
        match self.0.iter().find(|(_, socket)| !is_local(socket)) {
            None => Ok(()),
            Some((name, _)) => Err(format!(
                "refusing to serve the socket {name:?} of the service manager with a default or short secret: it can be \
                 reached from other machines"
            )),
        }
    }

    /// Checks that none is left: its clients would wait for ever.
    ///
    /// # Errors
    /// A text that says what to change.
    pub fn check_used(&self) -> Result<(), String> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => {
                Err(format!("the service manager listens on a socket {name:?}, which no flag has the server serve"))
            }
        }
    }
}
