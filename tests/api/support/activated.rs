//! A server that is started with sockets, as systemd starts it.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};

use super::{by_shell, command};

/// The command line of a server that is given up to two sockets with these names. They stay open here, as systemd keeps them.
pub fn activated(sockets: &[(&str, &TcpListener)], flags: &[String], directory: &Path) -> Command {
    let names: Vec<_> = sockets.iter().map(|(name, _)| *name).collect();
    // A shell gets them where a child can be given some without further ado, and moves them to where systemd has them.
    let first = format!(
        "exec 3<&0 4>&1 0</dev/null 1>/dev/null; LISTEN_PID=$$ LISTEN_FDS={} LISTEN_FDNAMES={}",
        names.len(),
        names.join(":")
    );
    let mut shell = by_shell(&first, &command(flags, directory), directory);
    let mut descriptors = sockets.iter().map(|(_, socket)| Stdio::from(OwnedFd::from(socket.try_clone().unwrap())));
    shell.stdin(descriptors.next().unwrap_or_else(Stdio::null)).stdout(descriptors.next().unwrap_or_else(Stdio::null));
    shell
}
