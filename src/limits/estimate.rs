//! Bounds and constants of the estimate of a viewer's path. Those of libwebrtc's controller are
//! marked GCC (draft-ietf-rmcat-gcc-02 and its source); the others were found by simulation
//! (`tests/adaptation`).

use std::time::Duration;

/// Trains whose feedback is awaited: over a second of one every 10 ms. Memory: 12 bytes each.
pub const ESTIMATE_TRAINS: usize = 128;

/// Trains that left within this time are one group, as a frame and its padding are (GCC §5.2).
pub const GROUP_TIME: Duration = Duration::from_millis(5);

/// Groups the line of delays is laid through (GCC: a window of 20).
pub const TREND_GROUPS: usize = 20;

/// How far back the least delay is looked for: a path that has become longer is taken as it is
/// after this time at the latest, and clocks that drift by 100 ppm are 1.5 ms apart then.
pub const LEAST_DELAY_SECONDS: usize = 15;

/// Delays that stay, the least of each second, within so much of one another ...
pub const PLATEAU_FLAT: Duration = Duration::from_millis(6);

/// ... for so many seconds are those of a path that has become longer. A download of TCP that fills
/// a queue rises by a packet a round trip (RFC 9438 §4.3), 10 ms in five seconds at 20 Mb/s.
pub const PLATEAU_SECONDS: u8 = 5;

/// The most that is waited for where it was none: doubled each time.
pub const PLATEAU_SECONDS_MOST: u8 = 80;

/// A queue this long is overuse whatever its trend is.
pub const QUEUE_OVERUSE: Duration = Duration::from_millis(60);

/// With a queue this long the rate does not grow.
pub const QUEUE_FULL_ENOUGH: Duration = Duration::from_millis(20);

/// With a queue shorter than this, losses are not of a queue that is full.
pub const QUEUE_OF_LOSS: Duration = Duration::from_millis(10);

/// The rate that arrives is measured over so many buckets of [`ACKED_BUCKET`]: 200 ms. Over half a
/// second the rate would follow too late, and fall too far.
pub const ACKED_BUCKETS: usize = 25;
/// See [`ACKED_BUCKETS`].
pub const ACKED_BUCKET: Duration = Duration::from_millis(8);

/// The least rate, in bits a second: a thinned lowest layer and audio.
pub const ESTIMATE_LEAST: f64 = 50_000.0;

/// The most, in bits a second: above it nothing is decided.
pub const ESTIMATE_MOST: f64 = 30_000_000.0;

/// The rate a viewer begins with, in bits a second: most paths have it, and a layer of 0.9 M is a
/// picture. libwebrtc's 300 k is why others show mosaics for seconds.
pub const ESTIMATE_START: f64 = 1_000_000.0;

/// The most the first train of a viewer, its key frame, can raise the rate to.
pub const ESTIMATE_START_MOST: f64 = 3_000_000.0;

/// Losses are counted in so many buckets of [`LOSS_BUCKET`]: 4 s.
pub const LOSS_BUCKETS: usize = 16;
/// See [`LOSS_BUCKETS`].
pub const LOSS_BUCKET: Duration = Duration::from_millis(250);

/// Packets a share of losses is computed of: among fewer, random losses of 5 % are at times 15 %.
pub const LOSS_PACKETS: u32 = 100;

/// Packets it is computed of at least, where there are no more in all the buckets.
pub const LOSS_PACKETS_LEAST: u32 = 50;

/// Trains whose spread the ceiling is the median of.
pub const CEILING_TRAINS: usize = 15;

/// Trains it needs at least.
pub const CEILING_TRAINS_LEAST: usize = 5;

/// What was measured longer ago is no ceiling any more.
pub const CEILING_KEPT: Duration = Duration::from_secs(5);

/// How long a probe lasts: long enough for Wi-Fi that delivers in clumps.
pub const PROBE_TIME: Duration = Duration::from_millis(200);

/// How long after its end a probe's feedback is awaited.
pub const PROBE_PATIENCE: Duration = Duration::from_millis(400);

/// The pause after a probe that showed that there is room.
pub const PROBE_PAUSE_GOOD: Duration = Duration::from_secs(1);

/// The pause after the first probe that showed that there is none; it is doubled each time.
pub const PROBE_PAUSE_LEAST: Duration = Duration::from_secs(3);

/// The longest such pause.
pub const PROBE_PAUSE_MOST: Duration = Duration::from_secs(30);

/// A queue that stays after the rate has been falling for this long is not ours.
pub const RIVAL_AFTER: Duration = Duration::from_millis(2_500);

/// A queue of others is over when it has been short for this long.
pub const RIVAL_GONE_AFTER: Duration = Duration::from_secs(1);

/// Packets of one feedback that are looked at: a hundred milliseconds of the most that is
/// estimated, four times over.
pub const MAX_STATUSES_HEARD: usize = 1_024;

/// Where a path was narrow and frames are too small to measure it, a train of padding leaves as
/// often.
pub const PROBE_SCOUT: Duration = Duration::from_millis(1_250);

/// Who takes transport-wide numbers and says nothing of them for so long never will.
pub const FEEDBACK_WITHIN: Duration = Duration::from_secs(5);

/// How often a viewer that does not get all at once is sent the next train.
pub const PACE_TICK: Duration = Duration::from_millis(10);

/// Bytes that may leave at once whatever the rate is: a train of two packets.
pub const PACE_LEAST_BYTES: u32 = 2 * 1_200;

/// Bytes of padding in a packet that has nothing else: as libwebrtc sends.
pub const PADDING_BYTES: u8 = 224;

/// Such packets to one viewer in a [`PACE_TICK`]: twenty million bits a second.
pub const MAX_PADDING_PER_TICK: u32 = 100;

const _: () = assert!(ESTIMATE_TRAINS.is_power_of_two(), "its index is a mask");
const _: () = assert!(ESTIMATE_TRAINS < 1 << 8, "a train's place fits a byte");

/// A better layer is gone over to when it has fit for this long.
pub const CHOICE_UP_AFTER: Duration = Duration::from_millis(500);

/// A layer that does not fit is left after this time, where nothing says that it is urgent.
pub const CHOICE_DOWN_AFTER: Duration = Duration::from_millis(300);

/// The least time between a change and the next one up.
pub const CHOICE_PAUSE_LEAST: Duration = Duration::from_secs(2);

/// The most it grows to, doubled each time a rise is taken back within [`CHOICE_FLAP`].
pub const CHOICE_PAUSE_MOST: Duration = Duration::from_secs(60);

/// See [`CHOICE_PAUSE_MOST`].
pub const CHOICE_FLAP: Duration = Duration::from_secs(10);

/// A viewer that has had the best of everything for so long, without trouble, need say no more of
/// its path than now and then.
pub const QUIET_AFTER: Duration = Duration::from_secs(10);

/// It is sampled once in this time, for [`QUIET_SAMPLE`], and half as often each time that all was
/// well: where a stream has few packets, samples would be most of what it costs.
pub const QUIET_ROUND: Duration = Duration::from_secs(5);

/// Once in so many rounds at least. Meanwhile what it asks for again and its round trip say when
/// something is wrong.
pub const QUIET_ROUNDS_MOST: u8 = 4;

/// Feedback comes each 50 to 100 ms: a few say whether there is a queue. They cost most of what
/// adapting does (5.4 µs a packet at 91 packets a second with all of them, 3.4 without any).
pub const QUIET_SAMPLE: Duration = Duration::from_millis(500);

/// A path that may carry so many times what is sent needs no pacing: a key frame passes.
pub const QUIET_ROOM: f64 = 4.0;

/// A longer queue is trouble.
pub const QUIET_QUEUE: Duration = Duration::from_millis(40);

/// So much more than the least round trip is trouble.
pub const QUIET_ROUND_TRIP: Duration = Duration::from_millis(80);

/// More packets asked for again in a second are trouble.
pub const QUIET_NACKS: u32 = 5;

/// A larger share of packets lost is trouble.
pub const QUIET_LOST: f64 = 0.02;

/// What is thought of the path of a viewer that says nothing of when its packets come is no more
/// than so many times what its best layers need: it was never tried.
pub const TOLD_MOST: f64 = 1.25;
