//! Metrics on their way out: a plain list, and the library that writes it as text.

use std::borrow::Cow;
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::Snapshot;

/// What stands before every metric's name.
const PREFIX: &str = "monoport";

/// Labels of one number: names and values.
pub type Labels = Vec<(&'static str, Cow<'static, str>)>;

/// Which text a scraper wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' own, 0.0.4: what every scraper reads.
    Prometheus,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Format {
    /// The format to answer an `Accept` header with. Prometheus' scrapers ask for OpenMetrics first
    /// and read both; whoever does not name it gets the older one.
    #[must_use]
    pub fn wanted(accept: &str) -> Format {
        let named = accept.contains("application/openmetrics-text");
        if named { Format::OpenMetrics } else { Format::Prometheus }
    }

    /// The value of `Content-Type`.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Format::Prometheus => prometheus_client::encoding::prometheus_text::CONTENT_TYPE,
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// A list of metrics with their values at one moment.
#[derive(Debug, Default)]
pub struct Exposition {
    metrics: Vec<Metric>,
}

/// One metric: a name, and numbers told apart by labels.
#[derive(Debug)]
pub struct Metric {
    name: &'static str,
    help: &'static str,
    kind: MetricType,
    numbers: Vec<(Labels, Number)>,
}

#[derive(Debug)]
enum Number {
    Count(u64),
    Float(f64),
    Distribution { sum: f64, count: u64, buckets: Vec<(f64, u64)> },
}

impl Exposition {
    /// A metric that only grows; its name gets `_total`. Help is a phrase without its full stop.
    pub fn counter(&mut self, name: &'static str, help: &'static str) -> &mut Metric {
        self.metric(name, help, MetricType::Counter)
    }

    /// A metric that goes up and down.
    pub fn gauge(&mut self, name: &'static str, help: &'static str) -> &mut Metric {
        self.metric(name, help, MetricType::Gauge)
    }

    /// A metric of distributions.
    pub fn histogram(&mut self, name: &'static str, help: &'static str) -> &mut Metric {
        self.metric(name, help, MetricType::Histogram)
    }

    /// The list as text.
    #[must_use]
    pub fn render(self, format: Format) -> String {
        let mut registry = Registry::with_prefix(PREFIX);
        registry.register_collector(Box::new(self));
        let mut text = String::with_capacity(64 * 1024);
        let written = match format {
            Format::Prometheus => {
                prometheus_client::encoding::prometheus_text::encode(&mut text, &registry)
            }
            Format::OpenMetrics => prometheus_client::encoding::text::encode(&mut text, &registry),
        };
        written.expect("a String takes all that is written to it");
        text
    }

    /// The metric of that name, made if it is new: a metric may stand in the text once only.
    fn metric(&mut self, name: &'static str, help: &'static str, kind: MetricType) -> &mut Metric {
        let place = self.metrics.iter().position(|metric| metric.name == name);
        let place = place.unwrap_or_else(|| {
            self.metrics.push(Metric { name, help, kind, numbers: Vec::new() });
            self.metrics.len() - 1
        });
        &mut self.metrics[place]
    }
}

impl Metric {
    /// Adds a whole number.
    pub fn count(&mut self, labels: Labels, value: u64) {
        self.numbers.push((labels, Number::Count(value)));
    }

    /// Adds a number of fractions.
    pub fn float(&mut self, labels: Labels, value: f64) {
        self.numbers.push((labels, Number::Float(value)));
    }

    /// Adds a distribution, cut at `bounds`, which are ends of its buckets. Bounds and sum are
    /// multiplied by `scale` on the way out.
    pub fn distribution(&mut self, labels: Labels, values: &Snapshot, bounds: &[u64], scale: f64) {
        let mut below = 0;
        let mut buckets: Vec<(f64, u64)> = bounds
            .iter()
            .map(|bound| {
                let at_most = values.at_most(*bound);
                let within = at_most - std::mem::replace(&mut below, at_most);
                (*bound as f64 * scale, within)
            })
            .collect();
        let count = values.count();
        buckets.push((f64::INFINITY, count - below));
        let sum = values.sum() as f64 * scale;
        self.numbers.push((labels, Number::Distribution { sum, count, buckets }));
    }
}

impl Collector for Exposition {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for Metric { name, help, kind, numbers } in &self.metrics {
            let help = format!("{help}.");
            let mut metric = encoder.encode_descriptor(name, &help, None, *kind)?;
            for (labels, number) in numbers {
                if labels.is_empty() {
                    number.encode(&mut metric, *kind)?;
                } else {
                    number.encode(&mut metric.encode_family(labels)?, *kind)?;
                }
            }
        }
        Ok(())
    }
}

impl Number {
    fn encode(&self, metric: &mut MetricEncoder<'_>, kind: MetricType) -> Result<(), fmt::Error> {
        match (self, kind) {
            (Number::Count(value), MetricType::Counter) => {
                metric.encode_counter::<NoLabelSet, _, f64>(value, None)
            }
            (Number::Float(value), MetricType::Counter) => {
                metric.encode_counter::<NoLabelSet, _, f64>(value, None)
            }
            (Number::Count(value), _) => metric.encode_gauge(value),
            (Number::Float(value), _) => metric.encode_gauge(value),
            (Number::Distribution { sum, count, buckets }, _) => {
                metric.encode_histogram::<NoLabelSet>(*sum, *count, buckets, None)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Histogram;

    fn example() -> Exposition {
        let mut exposition = Exposition::default();
        exposition.counter("plain", "Counts").count(Labels::new(), 7);
        let labels = |shard: &'static str| vec![("shard", Cow::from(shard))];
        exposition.gauge("level", "Goes up and down").count(labels("0"), 1);
        exposition.gauge("level", "Goes up and down").float(labels("1"), 2.5);
        let histogram = Histogram::default();
        for micros in [1, 3, 2_000, 1 << 30] {
            histogram.record(micros);
        }
        let times = exposition.histogram("time_seconds", "Takes time");
        times.distribution(labels("0"), &histogram.snapshot(), &[2, 2_048], 1e-6);
        exposition
    }

    #[test]
    fn both_formats_have_every_number_once() {
        let text = example().render(Format::Prometheus);
        for line in [
            "# TYPE monoport_plain_total counter\n",
            "monoport_plain_total 7\n",
            "# HELP monoport_level Goes up and down.\n",
            "monoport_level{shard=\"0\"} 1\n",
            "monoport_level{shard=\"1\"} 2.5\n",
            "monoport_time_seconds_bucket{shard=\"0\",le=\"0.002048\"} 3\n",
            "monoport_time_seconds_bucket{shard=\"0\",le=\"+Inf\"} 4\n",
            "monoport_time_seconds_count{shard=\"0\"} 4\n",
        ] {
            assert_eq!(text.matches(line).count(), 1, "{line} in {text}");
        }
        let text = example().render(Format::OpenMetrics);
        assert!(text.contains("# TYPE monoport_plain counter\n"), "{text}");
        assert!(text.contains("monoport_plain_total 7\n"));
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn scrapers_get_what_they_ask_for() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.2";
        assert_eq!(Format::wanted(prometheus), Format::OpenMetrics);
        assert_eq!(Format::wanted("*/*"), Format::Prometheus);
        assert_eq!(Format::wanted(""), Format::Prometheus);
    }
}
