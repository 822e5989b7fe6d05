//! Whatever a body of JSON says, what is taken from it is what it could say, and the rest is
//! refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use monoport::api::wanted_port;
use monoport::limits::MAX_LAYERS;
use monoport::whip::{wanted_events, wanted_layer};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(port) = wanted_port(bytes) {
        let same = format!("{{\"port\":{port}}}");
        assert_eq!(wanted_port(same.as_bytes()).ok(), Some(port));
    }
    if let Ok(events) = wanted_events(bytes) {
        assert!((1..32).contains(&events), "{events}");
    }
    if let Some(layer) = std::str::from_utf8(bytes).ok().and_then(|text| wanted_layer(text).ok()) {
        assert!(layer.place.is_none_or(|place| usize::from(place) < MAX_LAYERS), "{layer:?}");
        assert!(layer.max_width != Some(0) && layer.max_height != Some(0), "{layer:?}");
    }
});
