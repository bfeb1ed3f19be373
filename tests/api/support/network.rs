//! A network that can be cut.

use std::io::Result;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::process::Command;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::cannot_run;
use super::disk::run;

/// A network of its own (a network namespace), with one cable to this one, which can be cut. It goes when dropped.
pub struct Network {
    name: String,
    /// The address of this end of the cable.
    pub here: IpAddr,
}

impl Network {
    /// Makes one; a process has at most one at a time. `None` where this machine may not, and that is accepted ([`cannot_run`]).
    pub fn create() -> Option<Self> {
        let pid = std::process::id();
        let name = format!("broker{}", pid % 10_000_000);
        // Of the addresses that are for tests of networks (RFC 2544); four to each process.
        let [_, _, third, fourth] = (pid << 2).to_be_bytes();
        let [here, there] = [1, 2].map(|last| Ipv4Addr::new(198, 18 + (pid >> 14 & 1) as u8, third, fourth | last));
        let network = Self { here: here.into(), name };
        let (outer, inner) = (format!("{}a", network.name), format!("{}b", network.name));
        let set_up = [
            format!("netns add {}", network.name),
            format!("link add {outer} type veth peer name {inner} netns {}", network.name),
            format!("address add {here}/30 dev {outer}"),
            format!("link set {outer} up"),
            format!("-netns {} address add {there}/30 dev {inner}", network.name),
            format!("-netns {} link set {inner} up", network.name),
        ];
        for command in set_up {
            match ip(&command) {
                Ok(()) => {}
                Err(why) => {
                    cannot_run(&format!("this machine may not make networks (ip {command}: {why})"));
                    return None;
                }
            }
        }
        Some(network)
    }

    /// Connects from there to an address here.
    pub fn connect(&self, to: SocketAddr) -> TcpStream {
        let path = format!("/run/netns/{}", self.name);
        // The thread is there from then on, and so is what it opens.
        let connecting = std::thread::spawn(move || -> Result<TcpStream> {
            let there = std::fs::File::open(path)?;
            move_into_link_name_space(there.as_fd(), Some(LinkNameSpaceType::Network))?;
            TcpStream::connect(to)
        });
        connecting.join().unwrap().unwrap()
    }

    /// Cuts the cable: from now on nothing gets through, and nobody is told.
    pub fn cut(&self) {
        ip(&format!("-netns {0} link set {0}b down", self.name)).unwrap();
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // The cable goes with it.
        let _ = ip(&format!("netns delete {}", self.name));
    }
}

fn ip(arguments: &str) -> std::result::Result<(), String> {
    run(Command::new("ip").args(arguments.split(' ')))
}
