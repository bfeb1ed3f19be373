//! Guards the whole product over real sockets: each test starts the real binary on a free port with a store of its own.

mod support;

mod acme;
mod authorization;
mod clients;
mod connections;
mod contract;
mod crash;
mod create_user;
mod disk_full;
mod documents;
mod events;
mod fairness;
mod history;
mod identity;
mod insert;
mod layers;
mod login;
mod maintenance;
mod model;
mod ntp;
mod power_loss;
mod presence;
mod race;
mod remove;
mod silence;
mod smoke;
mod sse;
mod sse_ticket;
mod start;
mod subscription;
mod systemd;
mod tls;
mod update_user;
mod upgrade;
mod verify;
