//! A network that loses packets, or is narrow: datagrams between browsers and the server go
//! through here, and one in a hundred stays behind each way, or more of those for clients, or those
//! for some clients wait for one another.
//!
//! The server announces the relay's address as its own. Each address of a client gets a socket
//! towards the server, so that the server sees as many peers as there are. RTP's header is not
//! encrypted: the relay also notes when each picture of the publisher set out.

use std::collections::{HashMap, VecDeque};
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// One datagram in so many is lost.
const LOSS_ONE_IN: u64 = 100;
/// The seed of what is lost; each socket draws from a row of its own.
const SEED: u64 = 0x6d6f_6e6f_706f_7274;
/// How often a thread looks whether it shall end.
const LOOK: Duration = Duration::from_millis(100);
/// Two tabs check from each interface of the machine, and again after a restart.
const MAX_CLIENTS: usize = 64;
const MAX_DATAGRAM: usize = 2048;
/// IPv4 and UDP.
const HEADERS_BYTES: usize = 28;

/// What waits longer in front of a narrow path has no room.
const QUEUE: Duration = Duration::from_millis(300);

/// What a relay does to datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hardship {
    /// One in a hundred is lost.
    Loss,
    /// Nothing, until media for clients is lost: see [`Relay::lose_for_clients`].
    LossForClients,
    /// Those for some clients pass a bottleneck: see [`Relay::narrow_newcomers`].
    Narrow,
}

/// Datagrams of one direction.
#[derive(Debug, Default)]
pub struct Leg {
    /// RTP that came by, and how much of it was lost.
    pub media: AtomicU64,
    pub media_lost: AtomicU64,
    /// STUN, DTLS and RTCP, likewise.
    pub other: AtomicU64,
    pub other_lost: AtomicU64,
}

impl Leg {
    /// Counts a datagram; whether it is lost, as one in so many is; 0 for none.
    fn loses(&self, datagram: &[u8], dice: &mut Dice, one_in: u64) -> bool {
        let lost = one_in > 0 && dice.roll().is_multiple_of(one_in);
        let (all, gone) = match rtp(datagram) {
            Some(_) => (&self.media, &self.media_lost),
            None => (&self.other, &self.other_lost),
        };
        all.fetch_add(1, Ordering::Relaxed);
        gone.fetch_add(u64::from(lost), Ordering::Relaxed);
        lost
    }
}

/// When a picture's first packet came by, lost or not.
struct Departure {
    ssrc: u32,
    unix_ms: f64,
}

struct Shared {
    clients: UdpSocket,
    server: SocketAddr,
    hardship: Hardship,
    /// Of media for clients one in so many is lost; 0 for none.
    media_lost_one_in: AtomicU64,
    /// Clients that come now are behind the bottleneck.
    narrows: AtomicBool,
    /// What the bottleneck carries, in bits a second.
    speed: AtomicU64,
    ended: AtomicBool,
    to_server: Leg,
    to_clients: Leg,
    departures: Mutex<Vec<Departure>>,
}

/// Carries datagrams until it is dropped.
pub struct Relay {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    /// A relay before the server at `server`, on a free port of the same address.
    pub fn start(server: SocketAddr, hardship: Hardship) -> Relay {
        let clients = UdpSocket::bind((server.ip(), 0)).expect("a port for the relay");
        clients.set_read_timeout(Some(LOOK)).expect("a time-out");
        let shared = Arc::new(Shared {
            clients,
            server,
            hardship,
            media_lost_one_in: AtomicU64::new(0),
            narrows: AtomicBool::new(false),
            speed: AtomicU64::new(u64::MAX),
            ended: AtomicBool::new(false),
            to_server: Leg::default(),
            to_clients: Leg::default(),
            departures: Mutex::default(),
        });
        let thread = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || carry_to_server(&shared)
        });
        Relay { shared, thread: Some(thread) }
    }

    /// What the server has to announce.
    pub fn address(&self) -> SocketAddr {
        self.shared.clients.local_addr().expect("it is bound")
    }

    /// One in so many packets of media for clients is lost from here on.
    pub fn lose_for_clients(&self, one_in: u64) {
        self.shared.media_lost_one_in.store(one_in, Ordering::Relaxed);
    }

    /// Clients that come from here on are behind a bottleneck of so many bits a second; those that
    /// were there before are not.
    pub fn narrow_newcomers(&self, bits_per_s: u64) {
        self.set_speed(bits_per_s);
        self.shared.narrows.store(true, Ordering::Relaxed);
    }

    /// The bottleneck carries so many bits a second from here on.
    pub fn set_speed(&self, bits_per_s: u64) {
        self.shared.speed.store(bits_per_s, Ordering::Relaxed);
    }

    /// The way from clients to the server: media is the publisher's.
    pub fn to_server(&self) -> &Leg {
        &self.shared.to_server
    }

    /// The way from the server to clients: media is for viewers.
    pub fn to_clients(&self) -> &Leg {
        &self.shared.to_clients
    }

    /// When each picture of the publisher's `ssrc` set out, in milliseconds of the Unix clock.
    pub fn departures_ms(&self, ssrc: u32) -> Vec<f64> {
        let departures = self.shared.departures.lock().unwrap_or_else(PoisonError::into_inner);
        departures.iter().filter(|d| d.ssrc == ssrc).map(|d| d.unix_ms).collect()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It has already said why, if it failed.
            let _ = thread.join();
        }
    }
}

fn carry_to_server(shared: &Arc<Shared>) {
    let mut dice = Dice(SEED);
    let mut sockets: HashMap<SocketAddr, Arc<UdpSocket>> = HashMap::new();
    let mut threads = Vec::new();
    let mut newest: HashMap<u32, u32> = HashMap::new();
    let mut buffer = [0; MAX_DATAGRAM];
    while !shared.ended.load(Ordering::Relaxed) {
        let Ok((length, client)) = shared.clients.recv_from(&mut buffer) else { continue };
        let datagram = &buffer[..length];
        if let Some((ssrc, rtp_timestamp)) = rtp(datagram) {
            shared.note(&mut newest, ssrc, rtp_timestamp);
        }
        let socket = sockets.entry(client).or_insert_with(|| {
            assert!(threads.len() < MAX_CLIENTS, "a relay for two tabs, not for a crowd");
            let socket = Arc::new(UdpSocket::bind((shared.server.ip(), 0)).expect("a port"));
            socket.connect(shared.server).expect("the server's address");
            socket.set_read_timeout(Some(LOOK)).expect("a time-out");
            let dice = Dice(SEED + 1 + threads.len() as u64);
            let (shared, from_server) = (Arc::clone(shared), Arc::clone(&socket));
            let is_narrow = shared.narrows.load(Ordering::Relaxed);
            threads.push(std::thread::spawn(move || match is_narrow {
                true => carry_narrowly(&shared, &from_server, client),
                false => carry_to_client(&shared, &from_server, client, dice),
            }));
            socket
        });
        if !shared.to_server.loses(datagram, &mut dice, shared.lost_one_in()) {
            // A server that is away loses it, as a network would.
            let _ = socket.send(datagram);
        }
    }
    for thread in threads {
        let _ = thread.join();
    }
}

fn carry_to_client(shared: &Shared, server: &UdpSocket, client: SocketAddr, mut dice: Dice) {
    let mut buffer = [0; MAX_DATAGRAM];
    while !shared.ended.load(Ordering::Relaxed) {
        let Ok(length) = server.recv(&mut buffer) else { continue };
        let datagram = &buffer[..length];
        let one_in = match shared.hardship {
            Hardship::LossForClients if rtp(datagram).is_some() => {
                shared.media_lost_one_in.load(Ordering::Relaxed)
            }
            _ => shared.lost_one_in(),
        };
        if !shared.to_clients.loses(datagram, &mut dice, one_in) {
            // A client that has gone away loses it.
            let _ = shared.clients.send_to(datagram, client);
        }
    }
}

/// One datagram after the other, as fast as the bottleneck is.
fn carry_narrowly(shared: &Shared, server: &UdpSocket, client: SocketAddr) {
    let mut buffer = [0; MAX_DATAGRAM];
    let mut waiting: VecDeque<(Instant, Vec<u8>)> = VecDeque::new();
    let mut free = Instant::now();
    while !shared.ended.load(Ordering::Relaxed) {
        let now = Instant::now();
        while waiting.front().is_some_and(|(due, _)| *due <= now) {
            let (_, datagram) = waiting.pop_front().expect("there is one");
            // A client that has gone away loses it.
            let _ = shared.clients.send_to(&datagram, client);
        }
        let next = waiting.front().map(|(due, _)| due.saturating_duration_since(now));
        let wait = next.map_or(LOOK, |wait| wait.max(Duration::from_micros(100)));
        server.set_read_timeout(Some(wait)).expect("a time-out");
        let Ok(length) = server.recv(&mut buffer) else { continue };
        let now = Instant::now();
        let begins = free.max(now);
        if begins - now <= QUEUE {
            let bits = (length + HEADERS_BYTES) as f64 * 8.0;
            free = begins
                + Duration::from_secs_f64(bits / shared.speed.load(Ordering::Relaxed) as f64);
            waiting.push_back((free, buffer[..length].to_vec()));
        }
    }
}

impl Shared {
    /// One in so many datagrams either way is lost; 0 for none.
    fn lost_one_in(&self) -> u64 {
        if self.hardship == Hardship::Loss { LOSS_ONE_IN } else { 0 }
    }

    fn note(&self, newest: &mut HashMap<u32, u32>, ssrc: u32, rtp_timestamp: u32) {
        let before = newest.insert(ssrc, rtp_timestamp);
        if before == Some(rtp_timestamp) {
            return;
        }
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
        let departure = Departure { ssrc, unix_ms: unix.as_secs_f64() * 1e3 };
        let mut departures = self.departures.lock().unwrap_or_else(PoisonError::into_inner);
        departures.push(departure);
    }
}

/// SSRC and timestamp, if it is RTP: by its first byte (RFC 7983 §7) and not RTCP by its second
/// (RFC 5761 §4).
fn rtp(datagram: &[u8]) -> Option<(u32, u32)> {
    let word = |at: usize| Some(u32::from_be_bytes(datagram.get(at..at + 4)?.try_into().ok()?));
    let is_rtp = (128..=191).contains(datagram.first()?) && !(192..=223).contains(datagram.get(1)?);
    if is_rtp { Some((word(8)?, word(4)?)) } else { None }
}

/// SplitMix64 (Steele, Lea, Flood 2014): one seed is one row.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
