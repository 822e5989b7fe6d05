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

/// See [`SWITCH_HOLD`].
pub const SWITCH_PAUSE: Duration = Duration::from_secs(2);

/// A picture whose last packet has not come this long after its others is over: what was lost is
/// not waited for by who goes to another layer.
pub const PICTURE_OVER: Duration = Duration::from_millis(100);

/// Layers of one publisher are put right by its clock, before anybody gets them, where they are
/// apart by more than this: lips are seen to be late from 20 ms on.
pub const LAYERS_APART: Duration = Duration::from_millis(10);

const _: () = assert!(REPLAY_SQUEEZE <= MAX_SQUEEZE, "it is one of those");
