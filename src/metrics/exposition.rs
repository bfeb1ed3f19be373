//! The metrics as text, in the two formats that Prometheus reads.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, NoLabelSet, prometheus_text, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::cells::{Counted, Histogram};
use super::process::Process;
use super::readings::Readings;
use super::recorded::Metrics;

/// A format of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextFormat {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// The older format of Prometheus, version 0.0.4.
    Prometheus,
}

impl TextFormat {
    /// The format for a request with this header `accept`: OpenMetrics if the client names it.
    pub fn for_accept(accept: &str) -> Self {
        if accept.contains("application/openmetrics-text") { Self::OpenMetrics } else { Self::Prometheus }
    }

    /// The media type of the text.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => prometheus_text::CONTENT_TYPE,
        }
    }

    /// Writes everything that is counted, and everything that was read.
    ///
    /// # Errors
    /// Never, since it writes to memory.
    pub fn write(self, metrics: &Metrics, readings: Readings) -> Result<String, fmt::Error> {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Exposition { metrics: metrics.clone(), readings }));
        let mut written = String::new();
        match self {
            Self::OpenMetrics => text::encode(&mut written, &registry)?,
            Self::Prometheus => prometheus_text::encode(&mut written, &registry)?,
        }
        Ok(written)
    }
}

#[derive(Debug)]
struct Exposition {
    metrics: Metrics,
    readings: Readings,
}

impl Collector for Exposition {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut out = Out(encoder);
        out.gauges(
            "broker_build_info",
            "The version of Broker that runs; always 1",
            [([("version", env!("CARGO_PKG_VERSION"))], 1.0)],
        )?;
        self.requests(&mut out)?;
        self.streams(&mut out)?;
        self.changes(&mut out)?;
        self.files(&mut out)?;
        self.sign_ins(&mut out)?;
        self.surroundings(&mut out)?;
        self.readings.process.write(&mut out)
    }
}

impl Exposition {
    fn requests(&self, out: &mut Out<'_>) -> fmt::Result {
        let endpoints = self.metrics.endpoints();
        let code = |status: u16| if status == 0 { "other".to_owned() } else { status.to_string() };
        let counts = endpoints.iter().flat_map(|(endpoint, (codes, _))| {
            codes.iter().map(move |(status, count)| ([("endpoint", endpoint.clone()), ("code", code(*status))], *count))
        });
        out.counters("broker_http_requests", "Requests over HTTP that were answered, by endpoint and status", counts)?;
        let took = endpoints.iter().map(|(endpoint, (_, took))| ([("endpoint", endpoint.as_str())], took));
        out.histograms(
            "broker_http_request_duration_seconds",
            "Time from the head of a request to the head of its answer",
            took,
        )?;
        out.gauges(
            "broker_connections",
            "Open connections, by the protocol of their port",
            self.metrics.connections().map(|(protocol, count)| ([("protocol", protocol)], count as f64)),
        )?;
        out.gauge(
            "broker_connections_limit",
            "How many connections there may be, by the limit of open files",
            self.metrics.connections_limit.get() as f64,
        )?;
        out.counters(
            "broker_refusals",
            "Requests, commands and messages that were refused, by the code of the error",
            self.metrics.refusals().into_iter().map(|(code, count)| ([("code", code)], count)),
        )
    }

    fn streams(&self, out: &mut Out<'_>) -> fmt::Result {
        out.gauges(
            "broker_streams",
            "Open streams and subscriptions, by transport",
            self.metrics.streams().into_iter().map(|(transport, count)| ([("transport", transport)], count as f64)),
        )?;
        out.counters(
            "broker_streams_ended",
            "Streams that have ended, by reason",
            self.metrics.streams_ended().into_iter().map(|(reason, count)| ([("reason", reason)], count)),
        )?;
        out.gauge(
            "broker_streams_catching_up",
            "Open streams that are not live: they read what they missed, or their clients read too slowly",
            self.metrics.streams_catching_up() as f64,
        )?;
        out.counter("broker_deliveries", "Events that were given to streams", self.metrics.deliveries())?;
        out.histograms(
            "broker_delivery_lag_seconds",
            "Time from the commit of an event until all live streams of a worker were given it",
            self.metrics.delivery_lag().iter().map(|lag| (NO_LABELS, lag)),
        )?;
        let Some(mqtt) = self.readings.mqtt else { return Ok(()) };
        out.gauge("broker_mqtt_clients", "Clients of MQTT that are connected", mqtt.clients as f64)?;
        out.gauge("broker_mqtt_subscriptions", "Subscriptions of these clients", mqtt.subscriptions as f64)?;
        out.counter("broker_mqtt_messages_received", "Messages from clients of MQTT", mqtt.received)?;
        out.counter("broker_mqtt_messages_sent", "Messages to clients of MQTT", mqtt.sent)
    }

    fn changes(&self, out: &mut Out<'_>) -> fmt::Result {
        let Self { metrics, readings } = self;
        out.counter(
            "broker_inserts",
            "Events that became durable: values, removals and transient ones",
            metrics.inserts.get(),
        )?;
        out.gauge(
            "broker_writer_queue_changes",
            "Changes that wait for the writer",
            readings.writer_queue_changes as f64,
        )?;
        out.gauge("broker_writer_queue_bytes", "Bytes that these changes hold", readings.writer_queue_bytes as f64)?;
        out.histogram("broker_commit_changes", "Changes of each commit", &metrics.commit_changes)?;
        out.histogram(
            "broker_journal_sync_seconds",
            "Time that the disk took to write and sync each commit",
            &metrics.journal_sync,
        )
    }

    fn files(&self, out: &mut Out<'_>) -> fmt::Result {
        let Self { metrics, readings } = self;
        let journal = metrics.journal_waiting_bytes.get() + metrics.journal_moving_bytes.get();
        out.gauge("broker_journal_bytes", "Bytes of the journal that are not in the database yet", journal as f64)?;
        out.gauge(
            "broker_journal_limit_bytes",
            "Bytes of the journal at which a checkpoint begins",
            metrics.journal_limit_bytes.get() as f64,
        )?;
        out.gauge(
            "broker_overlay_bytes",
            "Memory of the commits that are not in the database yet",
            readings.overlay_bytes as f64,
        )?;
        out.histogram("broker_checkpoint_seconds", "Time that each checkpoint took", &metrics.checkpoint)?;
        out.maybe_gauge(
            "broker_checkpoint_last_success_timestamp_seconds",
            "When the last checkpoint was finished; absent before the first",
            metrics.checkpoint_succeeded.get(),
        )?;
        out.maybe_gauge(
            "broker_backup_last_success_timestamp_seconds",
            "When the last backup was finished; absent before the first",
            metrics.backup_succeeded.get(),
        )?;
        out.gauges(
            "broker_store_bytes",
            "Bytes of the files of the database, by kind",
            readings.store_files.iter().map(|(file, bytes)| ([("file", *file)], *bytes as f64)),
        )?;
        out.maybe_gauge(
            "broker_disk_free_bytes",
            "Bytes that are free on the disk of the database",
            readings.disk_free_bytes.map(|bytes| bytes as f64),
        )?;
        out.gauge(
            "broker_storage_full",
            "Whether the last change or checkpoint found no room on the disk",
            f64::from(u8::from(readings.disk_full)),
        )
    }

    fn sign_ins(&self, out: &mut Out<'_>) -> fmt::Result {
        let sign_ins = self.metrics.sign_ins();
        out.counters(
            "broker_sign_ins",
            "Attempts to sign in, by the doors and outcomes of the sign-in log",
            sign_ins.iter().map(|((method, outcome), count)| ([("method", *method), ("outcome", *outcome)], *count)),
        )?;
        out.gauge("broker_password_queue", "Passwords that wait to be hashed", self.readings.password_queue as f64)?;
        out.histogram(
            "broker_password_hash_seconds",
            "Time that each hash of a password took",
            &self.metrics.password_hash,
        )?;
        out.counters(
            "broker_throttled",
            "Attempts that were refused since there were too many, by kind of limit",
            self.readings.throttled.iter().map(|(kind, count)| ([("kind", *kind)], *count)),
        )
    }

    fn surroundings(&self, out: &mut Out<'_>) -> fmt::Result {
        out.gauge(
            "broker_clock_offset_seconds",
            "Seconds that the server's clock is ahead of the machine's",
            self.readings.clock_offset_seconds,
        )?;
        out.maybe_gauge(
            "broker_clock_synchronized",
            "Whether a time server has vouched for the clock in the last half hour; absent without time servers",
            self.readings.clock_synchronized.map(|is| if is { 1.0 } else { 0.0 }),
        )?;
        out.maybe_gauge(
            "broker_certificate_not_after_timestamp_seconds",
            "When the certificate ends that clients are shown; absent before the first client, and without HTTPS",
            self.readings.certificate_not_after,
        )
    }
}

impl Process {
    fn write(&self, out: &mut Out<'_>) -> fmt::Result {
        if let Some(seconds) = self.cpu_seconds {
            let help = "Seconds of processors that the process has used";
            out.counters("process_cpu_seconds", help, [(NO_LABELS, seconds)])?;
        }
        let whole = |value: Option<u64>| value.map(|value| value as f64);
        let gauges = [
            ("process_resident_memory_bytes", "Memory that the process has", whole(self.resident_bytes)),
            ("process_virtual_memory_bytes", "Addresses that the process has", whole(self.virtual_bytes)),
            ("process_open_fds", "Files and sockets that are open", whole(self.open_descriptors)),
            ("process_max_fds", "Files and sockets that may be open", whole(self.max_descriptors)),
            ("process_threads", "Threads of the process", whole(self.threads)),
            ("process_start_time_seconds", "When the process started", self.started_at),
        ];
        gauges.into_iter().try_for_each(|(name, help, value)| out.maybe_gauge(name, help, value))
    }
}

/// No labels.
const NO_LABELS: [(&str, &str); 0] = [];

/// Where the text is written.
struct Out<'a>(DescriptorEncoder<'a>);

impl Out<'_> {
    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.counters(name, help, [(NO_LABELS, value)])
    }

    /// The format adds `_total` to the name.
    fn counters<L: EncodeLabelSet, V: prometheus_client::encoding::EncodeCounterValue>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (L, V)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in values {
            metric.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
        }
        Ok(())
    }

    fn gauge(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        self.maybe_gauge(name, help, Some(value))
    }

    fn maybe_gauge(&mut self, name: &str, help: &str, value: Option<f64>) -> fmt::Result {
        self.gauges(name, help, value.map(|value| (NO_LABELS, value)))
    }

    fn gauges<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (L, f64)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in values {
            metric.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) -> fmt::Result {
        self.histograms(name, help, [(NO_LABELS, &histogram.counted())])
    }

    fn histograms<'c, L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (L, &'c Counted)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for (labels, Counted { sum, count, buckets }) in values {
            metric.encode_family(&labels)?.encode_histogram::<NoLabelSet>(*sum, *count, buckets, None)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_format_writes_counts_with_their_suffix_and_only_open_metrics_an_end() {
        let metrics = Metrics::default();
        metrics.inserts.add(3);
        metrics.add_endpoint("/sse").answered(200, Duration::from_millis(2));
        metrics.signed_in("basic", "unauthorized");
        let [open, old] = [TextFormat::OpenMetrics, TextFormat::Prometheus]
            .map(|format| format.write(&metrics, Readings::default()).unwrap());
        for text in [&open, &old] {
            assert!(text.contains("\nbroker_inserts_total 3\n"), "{text}");
            assert!(text.contains("broker_http_requests_total{endpoint=\"/sse\",code=\"200\"} 1\n"), "{text}");
            assert!(text.contains("broker_sign_ins_total{method=\"basic\",outcome=\"unauthorized\"} 1\n"), "{text}");
            assert!(!text.contains("\nbroker_backup_last_success_timestamp_seconds "), "it was never set: {text}");
        }
        assert!(open.ends_with("# EOF\n") && !old.contains("# EOF"));
    }

    #[test]
    fn open_metrics_is_for_those_that_name_it() {
        let asked = "application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        assert_eq!(TextFormat::for_accept(asked), TextFormat::OpenMetrics);
        for other in ["", "*/*", "text/plain"] {
            assert_eq!(TextFormat::for_accept(other), TextFormat::Prometheus);
        }
    }
}
