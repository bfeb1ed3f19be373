//! A Prometheus that watches a server, by rules that need not hold for long.

use std::collections::BTreeSet;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::support::{Client, TestServer, free_port, until};

/// A Prometheus with a database of its own.
pub struct Prometheus {
    child: Child,
    client: Client,
    _directory: tempfile::TempDir,
}

impl Prometheus {
    /// Watches a server. What the rules say of for how long a fault must last is left out.
    pub async fn watching(server: &TestServer, rules: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let rules: Vec<_> = rules.lines().filter(|line| !line.trim_start().starts_with("for: ")).collect();
        std::fs::write(at("alerts.yml"), rules.join("\n")).unwrap();
        let url = server.metrics();
        let target = url.split('/').nth(2).unwrap();
        let config = format!(
            "global: {{scrape_interval: 500ms, scrape_timeout: 500ms, evaluation_interval: 500ms}}\n\
             rule_files: [alerts.yml]\n\
             scrape_configs:\n  - job_name: broker\n    static_configs: [{{targets: ['{target}']}}]\n"
        );
        std::fs::write(at("prometheus.yml"), config).unwrap();
        let address = format!("127.0.0.1:{}", free_port());
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", at("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", at("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--log.level=error")
            .stdin(Stdio::null())
            .spawn()
            .expect("prometheus runs: tests/run.sh installs it");
        let prometheus = Self { child, client: Client::new(&format!("http://{address}")), _directory: directory };
        prometheus.knows("up == 1").await;
        prometheus
    }

    /// Evaluates an expression.
    pub async fn query(&self, expression: &str) -> Vec<Value> {
        let asked = self.client.http.get(format!("{}/api/v1/query", self.client.url)).query(&[("query", expression)]);
        // It may not listen yet.
        let Ok(answer) = asked.send().await else { return Vec::new() };
        let (status, answer) = (answer.status(), answer.text().await.unwrap());
        if status == 503 {
            return Vec::new();
        }
        assert_eq!(status, 200, "{expression}: {answer}");
        let answer: Value = serde_json::from_str(&answer).unwrap();
        answer["data"]["result"].as_array().unwrap().clone()
    }

    /// Awaits that an expression has a value.
    pub async fn knows(&self, expression: &str) {
        until(expression, async || (!self.query(expression).await.is_empty()).then_some(())).await;
    }

    /// Awaits that all rules were evaluated with what it has seen by now.
    pub async fn has_evaluated(&self) {
        let last = async || {
            let rules = self.client.get("/api/v1/rules").await.ok().json();
            rules["data"]["groups"][0]["lastEvaluation"].as_str().unwrap_or_default().to_owned()
        };
        let before = last().await;
        until("an evaluation", async || (last().await > before).then_some(())).await;
    }

    /// The alerts that fire now.
    pub async fn firing(&self) -> BTreeSet<String> {
        let alerts = self.client.get("/api/v1/alerts").await.ok().json();
        let alerts = alerts["data"]["alerts"].as_array().unwrap().clone();
        let firing = alerts.iter().filter(|alert| alert["state"] == "firing");
        firing.map(|alert| alert["labels"]["alertname"].as_str().unwrap().to_owned()).collect()
    }

    /// Awaits that an alert fires.
    pub async fn fires(&self, alert: &str) {
        until(alert, async || self.firing().await.contains(alert).then_some(())).await;
    }

    /// Awaits that an alert does not fire any more.
    pub async fn is_quiet(&self, alert: &str) {
        until("quiet", async || (!self.firing().await.contains(alert)).then_some(())).await;
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
