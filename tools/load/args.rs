//! The options of a run.

use crate::layers::MAX_LAYERS;
use crate::link::{self, Step};
use crate::media::Format;
use clap::{Args, ValueEnum};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Publishes streams to a server, watches them, and measures.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    /// The server, for example http://127.0.0.1:7880; streams are at /whip/NAME and /whep/NAME
    #[arg(long, value_parser = parse_url)]
    #[arg(required_unless_present_all = ["whip_url", "whep_url"])]
    pub url: Option<String>,
    /// Where publishers post instead, as in http://127.0.0.1:8889/{name}/whip
    #[arg(long, value_name = "URL", value_parser = parse_url)]
    pub whip_url: Option<String>,
    /// Where viewers post instead, as in http://127.0.0.1:8889/{name}/whep. Several times: the
    /// viewers of each stream take them in turn
    #[arg(long, value_name = "URL", value_parser = parse_url)]
    pub whep_url: Vec<String>,
    /// Streams, with one publisher each
    #[arg(long, default_value_t = 1)]
    pub streams: usize,
    /// What the streams' names begin with, so that two runs do not take each other's streams
    #[arg(long, default_value = "load")]
    pub prefix: String,
    /// Viewers of each stream
    #[arg(long, default_value_t = 1)]
    pub viewers: usize,
    #[arg(long, default_value_t = 2_000)]
    pub video_kbps: u32,
    #[arg(long, default_value_t = 30)]
    pub fps: u32,
    /// Layers of VP8 that publishers send (simulcast), named f, h and q: beside the bitrate of
    /// --video-kbps three tenths of it in half the size, and a twelfth in a quarter
    #[arg(long, default_value_t = 1, value_parser = parse_layers)]
    pub layers: usize,
    /// Also send 50 packets of audio a second
    #[arg(long)]
    pub audio: bool,
    /// How packets of different publishers reach the server
    #[arg(long, value_enum, default_value_t = Arrivals::Spread)]
    pub arrivals: Arrivals,
    /// Sessions set up per second
    #[arg(long, default_value_t = 200.0)]
    pub ramp: f64,
    /// How long to measure once all sessions are up
    #[arg(long, default_value = "10s", value_parser = parse_duration)]
    pub duration: Duration,
    /// Draw the run on the terminal while it goes on
    #[arg(long, value_enum, default_value_t = Show::Auto)]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "always")]
    pub live: Show,
    /// Write the report here, as one HTML page with its charts
    #[arg(long)]
    pub html: Option<PathBuf>,
    /// Write the report here, as JSON
    #[arg(long)]
    pub json: Option<PathBuf>,
    /// Exit with 1 when more than this part of the packets is lost
    #[arg(long, default_value_t = 0.001)]
    pub max_loss: f64,
    /// Exit with 1 when the 99th percentile of latency is above this
    #[arg(long, default_value_t = 20.0)]
    pub max_p99_ms: f64,
    /// Process whose CPU time is reported
    #[arg(long)]
    pub server_pid: Option<u32>,
    /// Bearer token; {name} in it stands for the stream's name
    #[arg(long, env = "MONOPORT_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// Bearer token of publishers, where it is another
    #[arg(long, value_name = "TOKEN")]
    pub whip_token: Option<String>,
    /// Bearer token of viewers, where it is another
    #[arg(long, value_name = "TOKEN")]
    pub whep_token: Option<String>,
    /// Open one packet in K: `1/64`. Default: all up to 1,000 viewers, then 1/64
    #[arg(long, value_parser = parse_one_in)]
    pub authenticate: Option<u32>,
    /// The largest datagram of the publishers, header and tag included
    #[arg(long, default_value_t = 1_200)]
    pub packet_size: usize,
    /// The codec of video; opus-only has none, and audio without being asked for
    #[arg(long, value_enum, default_value_t = Codec::Vp8)]
    pub codec: Codec,
    /// Lose this part of the media packets on purpose, on the way in and on the way out
    #[arg(long, default_value_t = 0.0, value_parser = parse_ratio)]
    pub drop: f64,
    /// Viewers that change their address while they watch, as behind a NAT that forgets them
    #[arg(long, default_value_t = 0)]
    pub rebind: usize,
    /// When the first of them does, after all sessions are up; the last does within a second
    #[arg(long, default_value = "2s", value_parser = parse_duration)]
    pub rebind_at: Duration,
    /// Put viewers behind a link of so many bits a second, as in 800k, or in steps by the time
    /// since all are up: 4M,1M@10s,4M@20s. They ask for what is missing, and are counted apart
    #[arg(long, value_name = "RATE", value_parser = link::parse_steps)]
    pub bandwidth: Option<Arc<[Step]>>,
    /// How many viewers are behind a link, the first ones. Default: all
    #[arg(long, requires = "bandwidth", value_name = "VIEWERS")]
    pub limited: Option<usize>,
    /// What waits longer in front of the link has no room
    #[arg(long, requires = "bandwidth", default_value = "300ms", value_parser = parse_duration)]
    pub queue: Duration,
    /// How long the way is beside what waits
    #[arg(long, requires = "bandwidth", default_value = "20ms", value_parser = parse_duration)]
    pub delay: Duration,
    /// The part that the link loses, as in 0.01 or 1%
    #[arg(long, requires = "bandwidth", default_value_t = 0.0, value_parser = parse_ratio)]
    pub loss: f64,
    /// Ask for missing packets again; without it loss is seen as it is
    #[arg(long)]
    pub nack: bool,
    /// Worker threads. Default: half of the cores
    #[arg(long)]
    pub threads: Option<usize>,
    /// Time between key frames that nobody asked for
    #[arg(long, default_value = "10s", value_parser = parse_duration)]
    pub key_frame_interval: Duration,
}

/// What streams are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Codec {
    Vp8,
    H264,
    Vp9,
    Av1,
    OpusOnly,
}

/// How exactly publishers keep their times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Arrivals {
    /// Each when its time has come, as from publishers that know nothing of each other
    Spread,
    /// All that are due within a millisecond together, as from one machine with coarse timers
    Burst,
}

/// Whether the run is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Show {
    /// Where standard error is a terminal; else a line a second
    Auto,
    /// In any case
    Always,
    /// A line a second
    Never,
}

impl RunArgs {
    /// Sessions that are asked for.
    #[must_use]
    pub fn sessions(&self) -> u64 {
        (self.streams * (1 + self.viewers)) as u64
    }

    /// The payload format of video, where there is any.
    #[must_use]
    pub fn video(&self) -> Option<Format> {
        match self.codec {
            Codec::Vp8 => Some(Format::Vp8),
            Codec::H264 => Some(Format::H264),
            Codec::Vp9 => Some(Format::Vp9),
            Codec::Av1 => Some(Format::Av1),
            Codec::OpusOnly => None,
        }
    }

    /// Whether there is audio.
    #[must_use]
    pub fn has_audio(&self) -> bool {
        self.audio || self.codec == Codec::OpusOnly
    }

    /// What is measured, in a line.
    #[must_use]
    pub fn server(&self) -> &str {
        let mut given = self.url.iter().chain(&self.whep_url).chain(&self.whip_url);
        given.next().map_or("", String::as_str)
    }
}

/// A URL, perhaps with `{name}` in it.
///
/// # Errors
/// What to write instead, for the command line.
pub fn parse_url(text: &str) -> Result<String, String> {
    match text.split_once("://") {
        Some(("http" | "https", host)) if !host.is_empty() => Ok(text.to_owned()),
        Some(_) => Err("it takes a URL of http:// or https://".into()),
        None => Err(format!("a URL begins with its scheme: http://{text} or https://{text}")),
    }
}

/// `10s`, `500ms`, `2m`, `1h`, or seconds.
///
/// # Errors
/// What is wrong with the text, for the command line.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: f64 = number.trim().parse().map_err(|_| format!("no number in {text:?}"))?;
    let seconds = match unit {
        "" | "s" => number,
        "ms" => number / 1_000.0,
        "m" => number * 60.0,
        "h" => number * 3_600.0,
        _ => return Err(format!("{unit:?} is none of ms, s, m, h")),
    };
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

/// 1 to 3.
fn parse_layers(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(layers) if (1..=MAX_LAYERS).contains(&layers) => Ok(layers),
        _ => Err(format!("publishers have 1 to {MAX_LAYERS} layers, not {text:?}")),
    }
}

/// `1/64` or `64`.
fn parse_one_in(text: &str) -> Result<u32, String> {
    let number = text.strip_prefix("1/").unwrap_or(text);
    match number.parse() {
        Ok(0) | Err(_) => Err(format!("{text:?} is not of the form 1/64")),
        Ok(one_in) => Ok(one_in),
    }
}

/// A part of one: `0.01`, or `1%`.
///
/// # Errors
/// What is wrong with the text, for the command line.
pub fn parse_ratio(text: &str) -> Result<f64, String> {
    let percent = text.strip_suffix('%');
    let parsed = percent
        .map_or_else(|| text.parse(), |number| number.trim().parse::<f64>().map(|n| n / 100.0));
    match parsed {
        Ok(ratio) if (0.0..=1.0).contains(&ratio) => Ok(ratio),
        _ => Err(format!("{text:?} is not between 0 and 1")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_durations_and_samples() {
        assert_eq!(parse_duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(parse_duration("1.5"), Ok(Duration::from_millis(1_500)));
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(parse_duration("1h"), Ok(Duration::from_secs(3_600)));
        assert!(parse_duration("-1s").is_err() && parse_duration("1d").is_err());
        assert_eq!(parse_one_in("1/64"), Ok(64));
        assert_eq!(parse_one_in("1"), Ok(1));
        assert!(parse_one_in("0").is_err() && parse_one_in("1/x").is_err());
    }
}
