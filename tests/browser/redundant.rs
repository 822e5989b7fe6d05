//! A publisher that prefers redundant audio (RED): who takes it is sent it, who does not is sent
//! what is new in each packet, and both hear.

use crate::stage::Stage;
use crate::{PATIENCE, Tab, assert_no_complaints};
use serde_json::Value;
use std::time::Duration;

/// The codecs of a page's audio sections are those that `of` makes of the browser's, and its
/// connections are kept in `window.pcs`.
fn set_audio_codecs(tab: &Tab<'_>, of: &str) {
    tab.eval(&format!(
        "(() => {{
            window.pcs = [];
            const add = RTCPeerConnection.prototype.addTransceiver;
            RTCPeerConnection.prototype.addTransceiver = function (media, options) {{
                const transceiver = add.call(this, media, options);
                if (!window.pcs.includes(this)) window.pcs.push(this);
                if ((media.kind ?? media) === 'audio') {{
                    const {{ codecs }} = RTCRtpReceiver.getCapabilities('audio');
                    const red = codecs.filter((codec) => codec.mimeType === 'audio/red');
                    const others = codecs.filter((codec) => codec.mimeType !== 'audio/red');
                    if (!red.length) throw new Error('the browser has no RED');
                    transceiver.setCodecPreferences({of});
                }}
                return transceiver;
            }};
        }})()"
    ));
}

/// What a page's connection says of its audio.
fn audio(tab: &Tab<'_>) -> Value {
    tab.eval(
        "window.pcs.at(-1).getStats().then((report) => {
            const types = ['inbound-rtp', 'outbound-rtp'];
            return [...report.values()].find((s) => s.kind === 'audio' && types.includes(s.type));
        })",
    )
}

fn number(stats: &Value, name: &str) -> f64 {
    stats[name].as_f64().unwrap_or_else(|| panic!("no {name}: {stats:#}"))
}

/// Somebody hears without a gap: the bytes of each packet that comes.
fn hears(tab: &Tab<'_>, who: &str) -> f64 {
    // What it took to begin is no loss.
    std::thread::sleep(Duration::from_secs(2));
    let before = audio(tab);
    std::thread::sleep(Duration::from_secs(5));
    let after = audio(tab);
    let gained = |name: &str| number(&after, name) - number(&before, name);
    let [packets, energy] = ["packetsReceived", "totalAudioEnergy"].map(gained);
    let [samples, concealed] = ["totalSamplesReceived", "concealedSamples"].map(gained);
    let share = 100.0 * concealed / samples;
    println!("who {who}: {packets} packets, energy {energy:.3}, {share:.1} % concealed");
    assert!(packets >= 150.0 && energy > 0.0, "{after:#}");
    assert!(concealed <= 0.1 * samples, "{concealed} of {samples} samples: {after:#}");
    gained("bytesReceived") / packets
}

#[test]
fn redundant_audio_is_heard_by_who_takes_it_and_by_who_does_not() {
    let Some(stage) = Stage::set_alone(2) else { return };
    let publisher = stage.tab("/publish");
    set_audio_codecs(&publisher, "[...red, ...others]");
    publisher.eval(
        "monoport.publish({ stream: 'red', source: 'pattern', width: 320, height: 180,
            maxBitrate: 200000 })",
    );
    let [takes, does_not] = ["[...others, ...red]", "others"].map(|codecs| {
        let tab = stage.tab("/watch/red?autoplay=0");
        set_audio_codecs(&tab, codecs);
        tab.eval("monoport.watch()");
        tab.wait_for("sound", "monoport.stats().then((s) => s.watch?.audioEnergy > 0)", PATIENCE);
        tab
    });
    // A browser's own words on the codec are of what is within.
    let sent = audio(&publisher);
    let sends = number(&sent, "bytesSent") / number(&sent, "packetsSent");
    let each = [(&takes, "takes it"), (&does_not, "does not")].map(|(tab, who)| hears(tab, who));
    println!("{sends:.0} bytes a packet were sent, {each:.0?} came");
    assert!(each[0] >= 0.8 * sends && each[0] >= 1.6 * each[1], "each carries the one before, too");
    assert_no_complaints(&[&publisher, &takes, &does_not]);
}
