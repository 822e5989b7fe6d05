//! What happens in a run, made up from its seed.

use std::time::Duration;

use monoport::shard::{Command, EndReason};
use monoport::track::Wish;
use tokio::sync::oneshot;

use crate::media::Encoders;
use crate::network::Quality;
use crate::peer::Peer;
use crate::random::Random;
use crate::rogue::{self, Reporter};
use crate::server::Setup;
use crate::turns::SILENCE;
use crate::world::World;

/// One thing that may happen, and how often it does beside the others.
type Happening = (u32, fn(&mut World));

const HAPPENINGS: &[Happening] = &[
    (10, another_publisher),
    (14, another_viewer),
    (8, somebody_leaves),
    (6, a_publisher_leaves),
    (6, somebody_is_rebound),
    (4, an_address_passes_on),
    (4, datagrams_are_spoofed),
    (5, a_leg_is_cut),
    (5, a_leg_changes),
    (10, requests_for_keyframes_are_lost),
    (5, numbers_start_anew),
    (5, a_layer_falls_silent),
    (4, an_encoder_is_deaf),
    (12, a_viewer_asks_for_a_keyframe),
    (20, a_viewer_chooses_a_layer),
    (10, a_viewer_means_ill),
    (6, many_paths_prove_themselves),
    (6, strangers_send),
];

/// Peers of one run.
const PEERS: usize = 12;

/// Runs one seed.
pub fn run(seed: u64) {
    let mut random = Random::new(seed ^ 0x5eed);
    let setup = Setup {
        shards: random.one_of(&[1, 1, 2, 3]),
        ports: random.one_of(&[1, 2]),
        publishers_before: random.one_of(&[0, 0, 4_093, 4_094]),
        hold: Duration::from_millis(random.one_of(&[0, 5])),
        seed: random.next(),
    };
    let streams = random.one_of(&[1, 1, 2]);
    let seconds = random.within(3..8);
    let mut world = World::new(seed, setup, streams);
    for stream in 0..streams {
        let (layers, quality) = (layers(&mut world), quality(&mut world));
        world.publish(stream, layers, quality);
        for _ in 0..world.random.within(0..3) {
            let quality = self::quality(&mut world);
            world.watch(stream, quality);
        }
    }
    // Each run has some happenings only: where all may happen, one hides what another shows.
    let often = random.one_of(&[150, 400, 400]);
    let kinds: Vec<_> = HAPPENINGS.iter().filter(|_| random.chance(often)).copied().collect();
    let pause_ms = random.one_of(&[200, 400, 1_000]);
    let end = world.start + Duration::from_secs(seconds);
    while world.now < end {
        let pause = Duration::from_millis(world.random.within(20..pause_ms));
        world.run_until(world.now + pause);
        something(&mut world, &kinds);
    }
    finish(&mut world);
}

fn something(world: &mut World, kinds: &[Happening]) {
    let all: u32 = kinds.iter().map(|(weight, _)| weight).sum();
    let mut at = world.random.within(0..u64::from(all.max(1))) as u32;
    for (weight, happens) in kinds {
        if at < *weight {
            return happens(world);
        }
        at -= weight;
    }
}

/// Everybody leaves, one way or another, and nothing stays behind.
pub fn finish(world: &mut World) {
    for peer in 0..world.peers.len() {
        world.peers[peer].present = false;
        let key = world.peers[peer].key;
        if world.peers[peer].ended.is_none() && world.random.chance(500) {
            world.server.end(key, EndReason::Deleted);
        }
    }
    world.tell("everybody is gone");
    world.run_until(world.now + SILENCE);
    world.hold_to(world.numbering.check());
    world.hold_to(world.server.is_empty());
}

fn layers(world: &mut World) -> usize {
    world.random.one_of(&[1, 1, 2, 3])
}

fn quality(world: &mut World) -> Quality {
    Quality::any(&mut world.random)
}

/// A peer that is there and of whom `wanted` holds.
fn somebody(world: &mut World, wanted: impl Fn(&Peer) -> bool) -> Option<usize> {
    let fit = |peer: &&Peer| peer.present && peer.ended.is_none() && wanted(peer);
    let count = world.peers.iter().filter(fit).count();
    if count == 0 {
        return None;
    }
    let which = world.random.index(count);
    let mut peers = world.peers.iter().enumerate().filter(|(_, peer)| fit(peer));
    peers.nth(which).map(|(index, _)| index)
}

fn publisher(world: &mut World) -> Option<usize> {
    somebody(world, |peer| peer.encoders.is_some() && peer.client.connected)
}

fn viewer(world: &mut World) -> Option<usize> {
    somebody(world, |peer| peer.encoders.is_none() && peer.client.connected)
}

/// One that there is, one that there is not, or whichever is best.
fn a_viewer_chooses_a_layer(world: &mut World) {
    let Some(peer) = viewer(world) else { return };
    let wish = match world.random.within(0..4) as u8 {
        3 => Wish::Automatic,
        layer => Wish::Layer(layer),
    };
    let (key, mid) = (world.peers[peer].key, None);
    // Nobody waits for the answer.
    let (done, _) = oneshot::channel();
    world.server.command(key.shard, Command::Wish { key, mid, wish, done });
    world.tell(format!("peer {peer} chooses {wish:?}"));
}

fn another_publisher(world: &mut World) {
    if world.peers.len() < PEERS {
        let stream = world.random.index(world.waiting.streams());
        let (layers, quality) = (layers(world), quality(world));
        world.publish(stream, layers, quality);
    }
}

fn another_viewer(world: &mut World) {
    let stream = world.random.index(world.waiting.streams());
    if world.peers.len() < PEERS && world.server.has_codecs(stream) {
        let quality = quality(world);
        world.watch(stream, quality);
    }
}

fn somebody_leaves(world: &mut World) {
    if let Some(peer) = somebody(world, |_| true) {
        leave(world, peer);
    }
}

fn a_publisher_leaves(world: &mut World) {
    if let Some(peer) = publisher(world) {
        leave(world, peer);
    }
}

fn leave(world: &mut World, peer: usize) {
    match world.random.index(3) {
        0 => {
            world.tell(format!("peer {peer} is switched off"));
            world.peers[peer].present = false;
        }
        1 => {
            world.tell(format!("peer {peer} deletes its session"));
            let key = world.peers[peer].key;
            world.server.end(key, EndReason::Deleted);
        }
        _ => {
            world.tell(format!("peer {peer} says goodbye"));
            world.peers[peer].said_goodbye = true;
            world.peers[peer].client.say_goodbye();
            world.empty_outbox(peer);
            world.peers[peer].present = false;
        }
    }
}

fn somebody_is_rebound(world: &mut World) {
    if let Some(peer) = somebody(world, |_| true) {
        world.rebind(peer);
    }
}

fn an_address_passes_on(world: &mut World) {
    let (Some(peer), Some(former)) = (somebody(world, |_| true), somebody(world, |_| true)) else {
        return;
    };
    if peer != former {
        world.rebind_to(peer, former);
    }
}

fn datagrams_are_spoofed(world: &mut World) {
    let Some(peer) = somebody(world, |peer| peer.client.connected) else { return };
    let count = world.random.within(1..20);
    world.tell(format!("{count} datagrams are sent as if by peer {peer}"));
    for _ in 0..count {
        let datagram = rogue::spoofed(&mut world.random);
        let (from, port) = (world.peers[peer].leg.outside, world.peers[peer].port);
        world.send_from(None, from, port, datagram);
    }
}

fn a_leg_is_cut(world: &mut World) {
    let Some(peer) = somebody(world, |_| true) else { return };
    let lasts = Duration::from_millis(world.random.within(50..1_500));
    let (up, down) = world.random.one_of(&[(true, true), (true, false), (false, true)]);
    let until = world.now + lasts;
    world.tell(format!("peer {peer} is cut off for {lasts:?}, up {up}, down {down}"));
    let leg = &mut world.peers[peer].leg;
    leg.up.cut_until = up.then_some(until).or(leg.up.cut_until);
    leg.down.cut_until = down.then_some(until).or(leg.down.cut_until);
}

fn a_leg_changes(world: &mut World) {
    let Some(peer) = somebody(world, |_| true) else { return };
    let (up, down) = (quality(world), quality(world));
    world.tell(format!("peer {peer} has another line: up {up:?}, down {down:?}"));
    world.peers[peer].leg.up.quality = up;
    world.peers[peer].leg.down.quality = down;
}

fn requests_for_keyframes_are_lost(world: &mut World) {
    let Some(peer) = publisher(world) else { return };
    let lasts = Duration::from_millis(world.random.within(200..4_000));
    world.tell(format!("peer {peer} gets no RTCP for {lasts:?}"));
    world.peers[peer].leg.down.deaf_until = Some(world.now + lasts);
}

fn numbers_start_anew(world: &mut World) {
    let Some(peer) = publisher(world) else { return };
    let tracks = world.peers[peer].encoders.as_ref().map_or(1, Encoders::len);
    let track = world.random.index(tracks);
    world.restart_track(peer, track);
}

fn a_layer_falls_silent(world: &mut World) {
    let Some(peer) = publisher(world) else { return };
    let layer = world.random.index(world.peers[peer].client.layers);
    let lasts = Duration::from_millis(world.random.within(200..3_000));
    world.tell(format!("layer {layer} of peer {peer} is silent for {lasts:?}"));
    let until = world.now + lasts;
    if let Some(encoders) = &mut world.peers[peer].encoders {
        encoders.silence(layer, until);
    }
}

fn an_encoder_is_deaf(world: &mut World) {
    let Some(peer) = publisher(world) else { return };
    let ignores = world.random.within(1..4) as u32;
    world.tell(format!("peer {peer} ignores {ignores} requests for key frames"));
    if let Some(encoders) = &mut world.peers[peer].encoders {
        encoders.ignores += ignores;
    }
}

fn a_viewer_asks_for_a_keyframe(world: &mut World) {
    let Some(peer) = viewer(world) else { return };
    world.tell(format!("peer {peer} asks for a key frame"));
    let now = world.now;
    world.peers[peer].client.ask_for_keyframe(now);
    world.empty_outbox(peer);
}

fn a_viewer_means_ill(world: &mut World) {
    let Some(peer) = viewer(world) else { return };
    let entry = &mut world.peers[peer];
    if entry.reporter.is_none() {
        entry.reporter = Reporter::of(&mut entry.client);
    }
    let port = entry.port;
    let (what, times) = (world.random.index(4), world.random.within(1..20));
    let named = [
        "asks for thousands of packets",
        "asks for one packet",
        "asks for key frames",
        "sends garbage",
    ];
    world.tell(format!("peer {peer} {} {times} times", named[what]));
    for _ in 0..times {
        let World { peers, random, .. } = world;
        let Some(reporter) = &mut peers[peer].reporter else { return };
        let datagram = match what {
            0 => reporter.flood_of_nacks(random),
            1 => reporter.nack(random.next() as u16),
            2 => reporter.pli(),
            _ => reporter.garbage(random),
        };
        world.send(peer, port, datagram);
    }
}

fn many_paths_prove_themselves(world: &mut World) {
    let Some(peer) = somebody(world, |peer| peer.client.connected) else { return };
    let paths = world.random.within(1..14);
    let right = world.random.chance(800);
    world.tell(format!("{paths} other paths to peer {peer} are checked, password right: {right}"));
    for _ in 0..paths {
        let nominate = world.random.chance(50);
        let check = rogue::check(&mut world.peers[peer].client, nominate, right);
        let from = rogue::somewhere(&mut world.random);
        let port = world.peers[peer].port;
        world.send_from(Some(peer), from, port, check);
    }
}

fn strangers_send(world: &mut World) {
    let count = world.random.within(1..30);
    world.tell(format!("strangers send {count} datagrams"));
    for _ in 0..count {
        let random = &mut world.random;
        let datagram =
            if random.chance(300) { rogue::forged(random) } else { rogue::noise(random) };
        let from = rogue::somewhere(random);
        let port = random.index(world.server.ports());
        world.send_from(None, from, port, datagram);
    }
}
