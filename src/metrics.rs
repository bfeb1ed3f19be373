//! What the server counts of itself, for `/metrics`.
//!
//! Counting may cost nothing: each cell is an atomic number, changed without any order to others. What every delivery or request
//! changes has a copy for each worker ([`WorkerMetrics`], [`EndpointMetrics`]), so that no two threads fight over a line of the
//! processor's cache; the copies are added up when somebody asks. What other parts of the server know anyway, such as the length of a
//! queue, is read when somebody asks ([`Readings`]).
//!
//! Labels are from fixed lists. None is the name of a user or a tenant.

mod cells;
mod exposition;
mod process;
mod readings;
mod recorded;

pub use cells::{Counter, Gauge, Histogram, Labelled, Moment};
pub use exposition::TextFormat;
pub use process::Process;
pub use readings::{MqttReadings, Readings};
pub use recorded::{EndpointMetrics, Metrics, Protocol, Recorded, WorkerMetrics};
