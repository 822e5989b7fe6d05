//! A path with a bottleneck: a queue of limited length, losses, jitter, delivery in clumps, and
//! others who use it too.

/// Bytes of IP and UDP headers around a datagram.
const HEADERS: u64 = 28;
/// Bytes of a packet of somebody else's.
const OTHERS: u64 = 1_500;

/// How fast it is at a time in microseconds, in bits a second.
type Speed = fn(u64) -> f64;

#[derive(Clone, Copy)]
pub enum Rival {
    Nobody,
    /// Sends at this rate whatever happens.
    Constant(f64),
    /// A download with TCP's CUBIC (RFC 9438).
    Download,
}

#[derive(Clone, Copy)]
pub struct Path {
    pub speed: Speed,
    /// What the queue holds, in microseconds.
    pub queue: u64,
    /// One way, in microseconds.
    pub delay: u64,
    /// How much longer the way is at a time, in microseconds.
    pub detour: fn(u64) -> u64,
    /// Microseconds.
    pub jitter: f64,
    pub loss: f64,
    /// What comes is handed over at multiples of this, in microseconds; 0 for at once.
    pub clump: u64,
    pub rival: Rival,
}

pub struct Link {
    pub path: Path,
    random: fastrand::Rng,
    /// When the bottleneck is free again.
    free: u64,
    last: u64,
    /// When the rival sends next.
    rival_at: u64,
    cubic: Cubic,
    /// How long packets waited.
    pub waits: Vec<u64>,
}

impl Link {
    pub fn new(path: Path, seed: u64) -> Link {
        let random = fastrand::Rng::with_seed(seed);
        let (cubic, waits) = (Cubic::default(), Vec::new());
        Link { path, random, free: 0, last: 0, rival_at: 0, cubic, waits }
    }

    /// Sends a datagram at `now`: when it comes, if it does.
    pub fn send(&mut self, now: u64, bytes: u32) -> Option<u64> {
        self.others(now);
        self.waits.push(self.free.saturating_sub(now));
        let left = self.enqueue(now, u64::from(bytes) + HEADERS)?;
        if self.random.f64() < self.path.loss {
            return None;
        }
        let jitter = normal(&mut self.random).abs() * self.path.jitter;
        let mut arrival = left + self.path.delay + (self.path.detour)(now) + jitter as u64;
        if let Some(clumps) = arrival.checked_div(self.path.clump) {
            arrival = (clumps + 1) * self.path.clump;
        }
        self.last = self.last.max(arrival);
        Some(self.last)
    }

    /// When it leaves the bottleneck, unless the queue is full.
    fn enqueue(&mut self, now: u64, bytes: u64) -> Option<u64> {
        let start = self.free.max(now);
        if start - now > self.path.queue {
            return None;
        }
        self.free = start + (bytes as f64 * 8e6 / (self.path.speed)(now)) as u64;
        Some(self.free)
    }

    fn others(&mut self, until: u64) {
        while self.rival_at <= until {
            let now = self.rival_at;
            self.rival_at = match self.path.rival {
                Rival::Nobody => return,
                Rival::Constant(rate) => {
                    self.enqueue(now, OTHERS);
                    now + (OTHERS as f64 * 8e6 / rate) as u64
                }
                Rival::Download => {
                    let round_trip = 2 * self.path.delay + self.free.saturating_sub(now);
                    let came = self.enqueue(now, OTHERS).is_some();
                    self.cubic.heard(now, came, round_trip);
                    now + ((round_trip as f64 / self.cubic.window) as u64).max(50)
                }
            };
        }
    }
}

/// The window of one connection, in packets (RFC 9438 §4).
struct Cubic {
    window: f64,
    most: f64,
    lost_at: Option<u64>,
    round_trip: Option<u64>,
}

impl Default for Cubic {
    fn default() -> Cubic {
        Cubic { window: 10.0, most: 10.0, lost_at: None, round_trip: None }
    }
}

impl Cubic {
    fn heard(&mut self, now: u64, came: bool, round_trip: u64) {
        let Some(lost_at) = self.lost_at else {
            // Slow start, with HyStart (RFC 9406): a round trip that grows ends it.
            let least = *self.round_trip.get_or_insert(round_trip);
            if came && round_trip < least + 8_000 {
                self.window += 1.0;
            } else {
                self.shrink(now);
            }
            return;
        };
        if !came {
            if now - lost_at > round_trip {
                self.shrink(now);
            }
            return;
        }
        let time = (now - lost_at) as f64 / 1e6;
        let peak = (self.most * 0.3 / 0.4).cbrt();
        let cubic = 0.4 * (time - peak).powi(3) + self.most;
        // As fast as Reno at least (§4.3).
        let reno = self.most * 0.7 + 0.53 * time * 1e6 / round_trip as f64;
        let target = cubic.max(reno).min(1.5 * self.window);
        self.window += (target - self.window).max(0.0) / self.window;
    }

    fn shrink(&mut self, now: u64) {
        self.most = self.window;
        self.window = (self.window * 0.7).max(2.0);
        self.lost_at = Some(now);
    }
}

/// A standard normal number, near enough: the sum of twelve.
pub fn normal(random: &mut fastrand::Rng) -> f64 {
    (0..12).map(|_| random.f64()).sum::<f64>() - 6.0
}
