//! Who speaks is told as it happens, and how loud they are is passed on.

use std::time::Duration;

use crate::api::listener::Listener;
use crate::api::schema::Document;
use crate::links::{b_knows, far_apart};
use crate::nodes::Nodes;
use crate::support::client::{Client, Offered, connect, run_for, socket};
use crate::support::{Server, eventually, request};
use crate::whip_letter::listen;
use serde_json::{Value, json};
use str0m::format::Codec;
use str0m::media::{Direction, MediaKind};

const AUDIO: Offered = Offered { codec: Codec::Vp8, audio: true, video: false };

/// One that sends sound of so many decibels, and how far it is.
struct Voice {
    client: Client,
    number: u32,
}

impl Voice {
    fn publish(server: &Server, stream: &str, level: i8) -> Voice {
        let mut client = Client::publish(server, stream, AUDIO);
        client.level = Some(level);
        connect(&mut [&mut client]);
        Voice { client, number: 0 }
    }
}

/// Sends sound for half a second.
fn sound(voices: &mut [&mut Voice], viewers: &mut [&mut Client]) {
    for _ in 0..25 {
        for voice in &mut *voices {
            voice.client.send(MediaKind::Audio, true, voice.number, voice.number * 960);
            voice.number += 1;
        }
        let clients = voices.iter_mut().map(|voice| &mut voice.client);
        let mut all: Vec<&mut Client> = clients.collect();
        all.extend(viewers.iter_mut().map(|viewer| &mut **viewer));
        run_for(Duration::from_millis(20), &mut all);
    }
}

/// The audio track of a stream, as the API has it.
fn track(server: &Server, name: &str) -> Value {
    let streams = request("GET", &server.url("/api/v1/streams"), &[], "").body;
    let streams: Value = serde_json::from_str(&streams).expect("JSON");
    let mut all = streams["streams"].as_array().expect("a list").iter();
    let stream = all.find(|stream| stream["name"] == name).unwrap_or(&Value::Null);
    let layers = stream["layers"].as_array().cloned().unwrap_or_default();
    layers.into_iter().find(|layer| layer["kind"] == "audio").unwrap_or_default()
}

/// The names of those who speak, the loudest first, once there are `count`.
fn told(events: &mut Listener, count: usize) -> Value {
    loop {
        let told = events.next_of("speakers");
        if told["count"] == count {
            return told;
        }
    }
}

#[test]
fn who_speaks_is_told_to_those_who_listen_and_who_watch() {
    let server = Server::with_shards(2);
    let mut quiet = Voice::publish(&server, "quiet", -70);
    let mut one = Voice::publish(&server, "one", -30);
    let mut two = Voice::publish(&server, "two", -20);
    let mut events = Listener::open(&server);
    assert_eq!(events.next_of("speakers"), json!({"count": 0, "speakers": []}));
    let mut viewer = Client::watch(&server, "one", AUDIO);
    connect(&mut [&mut viewer]);
    let url = viewer.session_url.clone() + "/events";
    let json = [("Content-Type", "application/json")];
    let channel = request("POST", &url, &json, "[\"speakers\"]");
    let channel = server.url(channel.header("location").expect("a Location"));
    let heard = std::thread::spawn(move || {
        // Nobody, then one, then nobody.
        listen(&channel, |events| {
            let speaks = |(_, data): &(String, String)| data.contains("track");
            events.iter().any(speaks) && !speaks(&events[events.len() - 1])
        })
    });
    for _ in 0..5 {
        sound(&mut [&mut quiet, &mut one, &mut two], &mut [&mut viewer]);
    }
    let all = told(&mut events, 2);
    let document = request("GET", &server.url("/api/v1/openapi.json"), &[], "").body;
    let document = Document(serde_json::from_str(&document).expect("JSON"));
    document.check(&all, document.schema("Speakers"), "speakers");
    let names: Vec<&Value> = (0..2).map(|place| &all["speakers"][place]["stream"]).collect();
    assert_eq!(names, ["two", "one"], "{all}");
    for (name, level, speaks) in [("one", -30, true), ("two", -20, true), ("quiet", -70, false)] {
        let track = track(&server, name);
        let found = (&track["level_dbov"], &track["speaks"]);
        assert_eq!(found, (&json!(level), &json!(speaks)), "{name}");
    }
    let mut levels = viewer.received.iter().map(|packet| packet.header.ext_vals.audio_level);
    assert_eq!(levels.next_back(), Some(Some(-30)), "it is passed on");
    one.client.level = Some(-127);
    for _ in 0..6 {
        sound(&mut [&mut quiet, &mut one, &mut two], &mut [&mut viewer]);
    }
    assert_eq!(told(&mut events, 1)["speakers"][0]["stream"], "two");
    drop(two);
    assert_eq!(told(&mut events, 0)["speakers"], json!([]), "nothing comes any more");
    let heard = heard.join().expect("it listened");
    assert!(heard.iter().all(|(name, _)| name == "speakers"), "{heard:?}");
    assert_eq!(heard[0].1, "{\"speakers\":[]}");
    assert!(heard.iter().all(|(_, data)| !data.contains("two")), "others' streams: {heard:?}");
    assert!(heard.len() < 20, "it is told some times a second at most: {}", heard.len());
    eventually("levels get old", || track(&server, "two")["level_dbov"].is_null());
}

#[test]
fn a_publisher_that_says_no_levels_has_none() {
    let server = Server::with_shards(1);
    let mut plain = Voice::publish(&server, "plain", 0);
    plain.client.level = None;
    for _ in 0..3 {
        sound(&mut [&mut plain], &mut []);
    }
    eventually("it is shown", || {
        sound(&mut [&mut plain], &mut []);
        track(&server, "plain")["bits_per_s"].as_u64() > Some(0)
    });
    let track = track(&server, "plain");
    assert_eq!((&track["level_dbov"], &track["speaks"]), (&Value::Null, &json!(false)));
}

#[test]
fn levels_go_with_the_stream_to_other_nodes() {
    let Some(nodes) = Nodes::new() else { return };
    let (a, b) = far_apart(&nodes);
    let mut voice = Voice::publish(&a, "s", -25);
    sound(&mut [&mut voice], &mut []);
    b_knows(&b);
    let mut viewer = None;
    eventually("it is served", || {
        let post = Client::try_post(&b, "/whep/s", AUDIO, Direction::RecvOnly, socket());
        viewer = post.ok();
        viewer.is_some()
    });
    let mut viewer = viewer.expect("it is served");
    connect(&mut [&mut voice.client, &mut viewer]);
    eventually("they speak there, too", || {
        sound(&mut [&mut voice], &mut [&mut viewer]);
        track(&b, "s")["level_dbov"] == -25 && track(&b, "s")["speaks"] == true
    });
}
