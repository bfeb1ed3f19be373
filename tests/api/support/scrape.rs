//! What the server counts of itself, as Prometheus would scrape it.

use std::collections::BTreeMap;

use super::{Client, TestServer};

/// One scrape.
#[derive(Clone, Debug)]
pub struct Scrape {
    /// The text, in the format of Prometheus.
    pub text: String,
    values: BTreeMap<String, f64>,
}

impl Scrape {
    /// Scrapes a server that serves metrics.
    pub async fn of(server: &TestServer) -> Self {
        let text = Client::new(&server.metrics()).get("").await.ok().body;
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        let values = samples.map(|line| line.rsplit_once(' ').unwrap());
        let values = values.map(|(series, value)| (series.to_owned(), value.parse().unwrap())).collect();
        Self { text, values }
    }

    /// The value of a series, written as in the text: `name{label="value"}`.
    pub fn get(&self, series: &str) -> Option<f64> {
        self.values.get(series).copied()
    }

    /// The same, of a series that must be there.
    #[track_caller]
    pub fn value(&self, series: &str) -> f64 {
        self.get(series).unwrap_or_else(|| panic!("there is no {series} in {}", self.text))
    }

    /// The sum of all series of a name.
    pub fn sum(&self, name: &str) -> f64 {
        self.values.iter().filter(|(series, _)| series.split('{').next() == Some(name)).map(|(_, value)| value).sum()
    }
}
