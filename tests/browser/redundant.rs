//! A publisher that prefers redundant audio (RED): who takes it is sent it, who does not is sent
//! what is new in each packet, and both hear.

use crate::stage::Stage;
use crate::{PATIENCE, Tab, assert_no_complaints};
use serde_json::Value;
use std::time::Duration;

/// What may be made up where nothing is lost, on a machine that has other work.
const CONCEALED_MOST: f64 = 0.1;

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

/// What a viewer heard between two looks.
struct Heard {
    /// Of each packet that came.
    bytes: f64,
    /// The share of what it played that was made up for what did not come.
    concealed: f64,
}

/// What each of these hears in so much time.
fn hear<const N: usize>(tabs: [&Tab<'_>; N], time: Duration) -> [Heard; N] {
    let before = tabs.map(audio);
    std::thread::sleep(time);
    let after = tabs.map(audio);
    std::array::from_fn(|at| {
        let gained = |name: &str| number(&after[at], name) - number(&before[at], name);
        let [packets, energy] = ["packetsReceived", "totalAudioEnergy"].map(gained);
        let [samples, concealed] = ["totalSamplesReceived", "concealedSamples"].map(gained);
        let heard =
            Heard { bytes: gained("bytesReceived") / packets, concealed: concealed / samples };
        let (bytes, share) = (heard.bytes, 100.0 * heard.concealed);
        println!(
            "{packets} packets of {bytes:.0} bytes, energy {energy:.3}, {share:.1} % concealed"
        );
        assert!(packets >= 30.0 * time.as_secs_f64() && energy > 0.0, "{:#}", after[at]);
        heard
    })
}

/// Nothing is lost at first, then one packet in ten for viewers: who takes redundancy hears what it
/// would have lost, but where two packets in a row are lost.
#[test]
fn redundant_audio_is_heard_by_who_takes_it_and_by_who_does_not() {
    let Some(stage) = Stage::set_with_loss_for_viewers(2) else { return };
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
    // What it took to begin is no loss.
    std::thread::sleep(Duration::from_secs(2));
    // A browser's own words on the codec are of what is within.
    let sent = audio(&publisher);
    let sends = number(&sent, "bytesSent") / number(&sent, "packetsSent");
    println!("{sends:.0} bytes a packet are sent; who takes it, and who does not:");
    let [with, without] = hear([&takes, &does_not], Duration::from_secs(5));
    assert!(with.bytes >= 0.8 * sends, "each carries the one before, too");
    assert!(with.bytes >= 1.6 * without.bytes, "that is left out for the other");
    for heard in [&with, &without] {
        assert!(heard.concealed <= CONCEALED_MOST, "a gap where nothing is lost");
    }
    let relay = stage.server.relay.as_ref().expect("it has one");
    relay.lose_for_clients(10);
    println!("where one packet in ten is lost:");
    let [with, without] = hear([&takes, &does_not], Duration::from_secs(10));
    assert!(without.concealed >= 0.05, "a tenth of it is lost to who takes no redundancy");
    assert!(with.concealed <= 0.6 * without.concealed, "redundancy makes up for what is lost");
    assert!(with.bytes >= 1.6 * without.bytes, "it comes still");
    assert_no_complaints(&[&publisher, &takes, &does_not]);
}
