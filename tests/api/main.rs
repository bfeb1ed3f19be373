//! The whole product over real sockets: each test starts the real binary on a free port with a store of its own.

mod support;

mod acme;
mod clients;
mod connections;
mod contract;
mod crash;
mod disk_full;
mod documents;
mod events;
mod fairness;
mod identity;
mod layers;
mod model;
mod ntp;
mod power_loss;
mod presence;
mod race;
mod silence;
mod smoke;
mod start;
mod stream;
mod systemd;
mod tickets;
mod tls;
mod upgrade;
mod views;
