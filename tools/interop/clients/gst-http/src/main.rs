//! `gst-launch-1.0` with the WHIP and WHEP elements of gst-plugins-rs, which Debian does not have:
//! runs the pipeline that the words after the number of seconds make, and says each second how many
//! buffers have come to its element `counted`, if it has one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use gst::prelude::*;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    gst::init()?;
    gstwebrtchttp::plugin_register_static()?;
    let mut words = std::env::args().skip(1);
    let seconds: u64 = words.next().ok_or("seconds, then a pipeline")?.parse()?;
    let words: Vec<String> = words.collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let pipeline = gst::parse::launchv(&words)?;
    let pipeline = pipeline.downcast::<gst::Pipeline>().map_err(|_one| "one element is none")?;
    let frames = Arc::new(AtomicU64::new(0));
    if let Some(counted) = pipeline.by_name("counted").and_then(|it| it.static_pad("sink")) {
        let frames = Arc::clone(&frames);
        counted.add_probe(gst::PadProbeType::BUFFER, move |_pad, _info| {
            frames.fetch_add(1, Ordering::Relaxed);
            gst::PadProbeReturn::Ok
        });
    }
    pipeline.set_state(gst::State::Playing)?;
    let bus = pipeline.bus().ok_or("a pipeline without a bus")?;
    let (major, minor, micro, _) = gst::version();
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        let tick = gst::ClockTime::from_seconds(1);
        let kinds = [gst::MessageType::Error, gst::MessageType::Eos];
        if let Some(message) = bus.timed_pop_filtered(tick, &kinds) {
            pipeline.set_state(gst::State::Null)?;
            let why = match message.view() {
                gst::MessageView::Error(error) => error.error().to_string(),
                _ => "the pipeline has ended".into(),
            };
            return Err(why.into());
        }
        let frames = frames.load(Ordering::Relaxed);
        println!(r#"{{"version": "{major}.{minor}.{micro}", "frames": {frames}}}"#);
    }
    pipeline.set_state(gst::State::Null)?;
    Ok(())
}
