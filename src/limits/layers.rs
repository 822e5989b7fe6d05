//! How viewers go from one layer of a track to another.

use std::time::Duration;

use super::REPLAY_SQUEEZE;

/// The most by which the time of what is replayed is squeezed: pictures of 120 a second, 750 ticks
/// apart, still differ by a tick.
pub const MAX_SQUEEZE: u16 = 512;

/// How long a viewer is sent nothing while the layer it goes to has no picture newer than the last
/// one it was shown: two of a slide show. A layer whose time is further behind is tried again after
/// [`SWITCH_PAUSE`].
pub const SWITCH_HOLD: Duration = Duration::from_millis(400);

/// A viewer that would be sent the past of a layer for longer than this goes to the layer at a new
/// key frame, which the publisher is asked for.
pub const SWITCH_CATCH_UP: Duration = Duration::from_millis(400);

/// A key frame is new for so long: three frames, in ticks of 90 kHz.
pub const SWITCH_NEW_TICKS: u32 = 9_000;

/// Who goes to a layer that sends less waits no longer for that: what it has is too much.
pub const SWITCH_KEYFRAME: Duration = Duration::from_millis(300);

/// See [`SWITCH_HOLD`].
pub const SWITCH_PAUSE: Duration = Duration::from_secs(2);

/// A picture whose last packet has not come this long after its others is over: what was lost is
/// not waited for by who goes to another layer.
pub const PICTURE_OVER: Duration = Duration::from_millis(100);

/// Packets of padding that may stand behind a picture, for it to be found.
pub const PADDING_BEHIND: u64 = 16;

/// Layers of one publisher are put right by its clock, before anybody gets them, where they are
/// apart by more than this: lips are seen to be late from 20 ms on.
pub const LAYERS_APART: Duration = Duration::from_millis(10);

/// How often layers are looked at for whether they flow, while anything of their track comes.
pub const FLOW_CHECK: Duration = Duration::from_millis(50);

/// A pause between two packets of a track counts for so much at most as silence of a layer: at
/// fewer than eight frames a second it is [`FLOW_SILENT_AFTER`] in four frames.
pub const FLOW_PAUSE: Duration = Duration::from_millis(125);

/// A layer of which nothing has come for so long, while another one of its track flows, may be
/// about to fall silent: those who have it will need a key frame of another. Two frames, where its
/// own are further apart.
pub const FLOW_WANES_AFTER: Duration = Duration::from_millis(250);

/// A layer of which nothing has come for so long, while another one of its track flows, is silent.
/// Four frames, where its own are further apart, and [`FLOW_SILENT_MOST`] at most.
pub const FLOW_SILENT_AFTER: Duration = Duration::from_millis(500);

/// See [`FLOW_SILENT_AFTER`].
pub const FLOW_SILENT_MOST: Duration = Duration::from_secs(4);

/// A layer that was silent is given to viewers again once it has flowed for so long.
pub const FLOW_BACK_AFTER: Duration = Duration::from_secs(3);

const _: () = assert!(
    FLOW_CHECK.as_millis() < FLOW_WANES_AFTER.as_millis()
        && FLOW_SILENT_AFTER.as_millis() == 4 * FLOW_PAUSE.as_millis(),
    "four frames, or half a second"
);
const _: () = assert!(REPLAY_SQUEEZE <= MAX_SQUEEZE, "it is one of those");

/// Temporal layers that a layer may be thinned to: the lowest one alone, and that with the next.
/// Browsers and hardware encoders send three at most, of which the highest is half of the frames.
pub const THINNED_FRAMES: usize = 2;

/// What a layer may be thinned to in all: that, and of an encoding with spatial layers the smallest
/// of three pictures, and the one between.
pub const MAX_THINNED: usize = THINNED_FRAMES + 2;

/// Spatial layers of an encoding that are told apart: those, and all of it.
pub const MAX_SPATIAL: usize = MAX_THINNED - THINNED_FRAMES + 1;

/// Layers of a track, and what each may be thinned to, by their numbers. Who has spatial layers has
/// one encoding.
pub const MAX_POINTS: usize =
    super::MAX_LAYERS * (1 + THINNED_FRAMES) + (MAX_THINNED - THINNED_FRAMES);

/// Packets of a thinned layer of which it is remembered what number was left for them: what is
/// repaired on the publisher's path comes within half a second, at 16 Mb/s at most.
pub const THINNED_HOLE_PACKETS: u64 = 1_024;

/// A layer goes on being thinned for so long when nobody takes it so any more: who goes up one
/// temporal layer after the other has the next one ready, and who left may ask for what it lost.
pub const THINNED_KEPT: Duration = Duration::from_secs(4);

/// Who may have more temporal layers, and has met no frame to go up at for so long, goes up at a
/// key frame, which is asked for.
pub const THINNED_UP_WAIT: Duration = Duration::from_secs(4);

const _: () = assert!(
    MAX_POINTS <= u8::MAX as usize && THINNED_HOLE_PACKETS.is_power_of_two(),
    "they are numbered by a byte, and looked up by masking"
);

/// Earlier packets that one of redundant audio may carry again: browsers send one or two.
pub const MAX_RED_BLOCKS: usize = 8;

/// Who has less than this is sent sound without redundancy: some 80 kb/s, headers counted in, are
/// 50 without, and half of what there is is the picture's.
pub const RED_LEAST_BITS_PER_S: f64 = 160_000.0;

/// Who is further behind than this goes on with the newest key frame: what is so old is seen late,
/// and keeps what is new waiting.
pub const LAG_MOST: Duration = Duration::from_millis(500);

/// Who is so far behind asks for a key frame this often at most: it costs all viewers of a layer.
pub const LAG_ASK: Duration = Duration::from_secs(2);
