//! The report as one HTML page: charts drawn here, no script, nothing from outside, so that it can
//! be kept with the build that it judged. It is well-formed XML as well, which is how it is tested.

use crate::args::RunArgs;
use crate::chart::{Chart, Curve, Scale, escaped};
use crate::report::{Harvest, Report, Thresholds};
use crate::series::{Point, Series};
use crate::worker::latency_histogram;
use hdrhistogram::Histogram;
use std::fmt::Write;

/// Points of the curve of set-up times; more would not be seen.
const SETUP_POINTS: usize = 200;
/// Steps of the latency curve per tenth of what is above it.
const STEPS_PER_NINE: u32 = 40;

const STYLE: &str = include_str!("report.css");

/// What is drawn, besides the report's figures.
pub struct Curves {
    latency_us: Histogram<u64>,
    /// In ascending order.
    setup_ms: Vec<f64>,
    series: Series,
}

impl Curves {
    /// The sum of what the workers measured.
    #[must_use]
    pub fn new(harvests: &[Harvest], series: Series) -> Self {
        let mut latency_us = latency_histogram();
        let mut setup_ms = Vec::new();
        for harvest in harvests {
            latency_us.add(&harvest.latency_us).expect("histograms of one shape");
            setup_ms.extend(&harvest.setup_ms);
        }
        setup_ms.sort_by(f64::total_cmp);
        Self { latency_us, setup_ms, series }
    }
}

/// The page.
#[must_use]
pub fn page(args: &RunArgs, report: &Report, curves: &Curves) -> String {
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/>\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\
         <title>monoport-load: {}</title>\n<style>{STYLE}</style></head><body>\n",
        escaped(args.server())
    );
    head(&mut page, args, report);
    verdict(&mut page, args, report);
    figures(&mut page, report);
    charts(&mut page, args, curves);
    tables(&mut page, args, report);
    page.push_str("</body></html>\n");
    page
}

fn head(page: &mut String, args: &RunArgs, report: &Report) {
    let _ = writeln!(
        page,
        "<h1>Load on {}</h1>\n<p>{} streams with {} viewers each, measured for {:.1} s.</p>",
        escaped(args.server()),
        args.streams,
        args.viewers,
        report.measured_s
    );
}

fn verdict(page: &mut String, args: &RunArgs, report: &Report) {
    let checks = report.checks(&Thresholds::of(args));
    let missed = checks.iter().filter(|check| !check.kept).count();
    let (class, words) = match missed {
        0 => ("kept", "passed: every threshold was kept".to_owned()),
        1 => ("missed", "failed: a threshold was missed".to_owned()),
        _ => ("missed", format!("failed: {missed} thresholds were missed")),
    };
    let _ = writeln!(page, "<p class=\"verdict {class}\">{words}</p>\n<table class=\"checks\">");
    page.push_str("<tr><th>threshold</th><th>found</th><th>wanted</th><th></th></tr>\n");
    for check in checks {
        let (class, word) = if check.kept { ("kept", "kept") } else { ("missed", "missed") };
        let _ = writeln!(
            page,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td class=\"{class}\">{word}</td></tr>",
            check.what, check.found, check.wanted
        );
    }
    page.push_str("</table>\n");
}

fn figures(page: &mut String, report: &Report) {
    let ms = |us: u64| format!("{:.2} ms", us as f64 / 1_000.0);
    let per_packet = report.server_cpu_ns_per_egress_packet;
    let of_a_core = report.server_cpu_s.map(|s| 100.0 * s / report.measured_s.max(1e-9));
    let unknown = || "unknown".to_owned();
    let figures = [
        ("packets/s", format!("{:.0}", report.egress_pps)),
        ("Mb/s", format!("{:.1}", report.egress_mbps)),
        ("latency p50", ms(report.latency_us.p50)),
        ("latency p99", ms(report.latency_us.p99)),
        ("lost", format!("{:.4} %", 100.0 * report.loss_ratio)),
        ("server per packet", per_packet.map_or_else(unknown, |ns| format!("{ns:.0} ns"))),
        ("server of a core", of_a_core.map_or_else(unknown, |percent| format!("{percent:.0} %"))),
        ("set-up p50", format!("{:.1} ms", report.session_setup_ms.p50)),
    ];
    page.push_str("<div class=\"figures\">\n");
    for (name, value) in figures {
        let _ = writeln!(page, "<div><b>{value}</b><span>{name}</span></div>");
    }
    page.push_str("</div>\n");
}

fn charts(page: &mut String, args: &RunArgs, curves: &Curves) {
    let points = curves.series.points();
    let over_time = |name, value: &dyn Fn(&Point) -> Option<f64>| Curve {
        name,
        points: points.iter().filter_map(|point| Some((point.at_s, value(point)?))).collect(),
    };
    let ms = |us: Option<u64>| us.map(|us| us as f64 / 1_000.0);
    let plain = |title, y, curves| Chart {
        title,
        x: "seconds since the first offer",
        y,
        x_scale: Scale::Linear,
        curves,
        limit: None,
        y_at_least: 0.0,
    };
    page.push_str("<div class=\"charts\">\n");
    let latency = Curve { name: "latency", points: latency_curve(&curves.latency_us) };
    let percentiles = Chart {
        x: "percentile: what is to the right of a mark is a tenth of what is to its left",
        x_scale: Scale::Percentile,
        limit: Some(args.max_p99_ms),
        ..plain("Latency by percentile", "ms", vec![latency])
    };
    let latency = vec![
        over_time("p50", &|point| ms(point.p50_us)),
        over_time("p99", &|point| ms(point.p99_us)),
    ];
    let packets = vec![over_time("packets", &|point| Some(point.packets_per_s()))];
    let bits = vec![over_time("media", &|point| Some(point.bits_per_s() / 1e6))];
    let lost = vec![over_time("lost", &|point| Some(100.0 * point.loss_ratio()))];
    let cpu = vec![
        over_time("server", &|point| point.server_cpu_s.map(|cpu_s| point.percent(cpu_s))),
        over_time("client", &|point| Some(point.percent(point.client_cpu_s))),
    ];
    let sessions = vec![over_time("up", &|point| Some((point.publishers + point.viewers) as f64))];
    let setup = vec![Curve { name: "set-up", points: setup_curve(&curves.setup_ms) }];
    let all = [
        percentiles,
        plain("Latency over time, to an eighth", "ms", latency),
        plain("Packets received per second", "packets/s", packets),
        plain("Media received", "Mb/s", bits),
        Chart {
            limit: Some(100.0 * args.max_loss),
            y_at_least: 0.1,
            ..plain("Packets lost, or not there yet", "%", lost)
        },
        Chart { y_at_least: 10.0, ..plain("CPU", "% of a core", cpu) },
        plain("Sessions that are up", "sessions", sessions),
        Chart {
            x: "% of the sessions were up within",
            ..plain("Set-up time, offer to keys", "ms", setup)
        },
    ];
    for chart in all {
        figure(page, &chart);
    }
    page.push_str("</div>\n");
}

fn figure(page: &mut String, chart: &Chart<'_>) {
    let _ = writeln!(page, "<figure><figcaption>{}", escaped(chart.title));
    if chart.curves.len() > 1 {
        for (number, curve) in chart.curves.iter().enumerate() {
            let _ = write!(page, " <span class=\"key c{number}\">{}</span>", curve.name);
        }
    }
    let empty = chart.curves.iter().all(|curve| curve.points.is_empty());
    let body = if empty { "<p>nothing was measured</p>\n".to_owned() } else { chart.svg() };
    let _ = writeln!(page, "</figcaption>{body}</figure>");
}

/// Quantiles ever nearer to one, with their latency in milliseconds.
fn latency_curve(histogram: &Histogram<u64>) -> Vec<(f64, f64)> {
    if histogram.is_empty() {
        return Vec::new();
    }
    // Up to the nine behind which there is less than one packet.
    let nines = (histogram.len() as f64).log10().min(5.0);
    let steps = (nines * f64::from(STEPS_PER_NINE)).ceil() as u32;
    let quantile = |step| 1.0 - 10f64.powf(-f64::from(step) / f64::from(STEPS_PER_NINE));
    let at = |quantile| (quantile, histogram.value_at_quantile(quantile) as f64 / 1_000.0);
    let mut curve: Vec<(f64, f64)> = (0..=steps).map(|step| at(quantile(step))).collect();
    curve.push((1.0, histogram.max() as f64 / 1_000.0));
    curve
}

/// Which part of the sessions, in percent, was up within how many milliseconds.
fn setup_curve(ascending_ms: &[f64]) -> Vec<(f64, f64)> {
    let Some(last) = ascending_ms.len().checked_sub(1) else { return Vec::new() };
    let steps = last.clamp(1, SETUP_POINTS);
    let at = |step: usize| {
        let index = last * step / steps;
        (100.0 * (index + 1) as f64 / (last + 1) as f64, ascending_ms[index])
    };
    (0..=steps).map(at).collect()
}

fn tables(page: &mut String, args: &RunArgs, report: &Report) {
    let percent = |ratio: f64| format!("{} %", 100.0 * ratio);
    let video = match args.video() {
        Some(format) => {
            format!("{} kb/s, {} frames/s, {}", args.video_kbps, args.fps, format.name())
        }
        None => "none".to_owned(),
    };
    let parameters = [
        ("streams", args.streams.to_string()),
        ("viewers of each", args.viewers.to_string()),
        ("video", video),
        ("audio", if args.has_audio() { "50 packets/s" } else { "none" }.to_owned()),
        ("largest datagram", format!("{} B", args.packet_size)),
        ("key frames", format!("every {:?}", args.key_frame_interval)),
        ("arrivals", format!("{:?}", args.arrivals).to_lowercase()),
        ("ramp", format!("{} sessions/s", args.ramp)),
        ("duration", format!("{:?}", args.duration)),
        ("lost on purpose", percent(args.drop)),
        ("asks again", if args.nack { "yes" } else { "no" }.to_owned()),
    ];
    page.push_str("<h2>Parameters</h2>\n<table>\n");
    for (name, value) in parameters {
        let _ = writeln!(page, "<tr><td>{name}</td><td>{}</td></tr>", escaped(&value));
    }
    page.push_str("</table>\n<h2>Every figure</h2>\n");
    // A report that would not become JSON has already ended the run.
    let json = serde_json::to_string_pretty(report).unwrap_or_default();
    let _ = writeln!(page, "<pre id=\"json\">{}</pre>", escaped(&json));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_rise_and_end_where_the_measurements_do() {
        let mut histogram = latency_histogram();
        (1..=10_000).for_each(|us| histogram.record(us).unwrap());
        let curve = latency_curve(&histogram);
        assert!(curve.windows(2).all(|two| two[0].0 < two[1].0 && two[0].1 <= two[1].1));
        assert_eq!(curve.last().map(|point| point.0), Some(1.0));
        assert!((curve.last().unwrap().1 - 10.0).abs() < 0.01);
        assert!(latency_curve(&latency_histogram()).is_empty());

        let setups: Vec<f64> = (1..=1_000).map(f64::from).collect();
        let curve = setup_curve(&setups);
        assert_eq!(curve.len(), SETUP_POINTS + 1);
        assert_eq!(curve.last(), Some(&(100.0, 1_000.0)));
        assert_eq!(setup_curve(&[7.0]), [(100.0, 7.0), (100.0, 7.0)]);
        assert!(setup_curve(&[]).is_empty());
    }
}
