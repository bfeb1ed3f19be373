//! What counts requests, by route.

use std::rc::Rc;
use std::sync::Arc;

use crate::metrics::{EndpointMetrics, Metrics};

/// How the metrics call every path that is no route.
pub const ELSEWHERE: &str = "other";

/// What counts the requests to one route on one worker.
#[derive(Clone)]
pub struct Endpoint {
    /// The counts of the route.
    pub cells: Arc<EndpointMetrics>,
    /// All counts of the server.
    pub metrics: Rc<Metrics>,
}

impl Endpoint {
    /// The counts of a route, by its pattern.
    pub fn new(metrics: &Rc<Metrics>, path: &str) -> Self {
        // Without the pattern of a parameter.
        Self { cells: metrics.add_endpoint(&path.replace(":.*", "")), metrics: Rc::clone(metrics) }
    }
}
