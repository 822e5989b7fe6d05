//! Simulcast: what each layer of a publisher is, from the largest to the smallest.

/// The names of layers, as browsers' applications give them: full, half and quarter size.
pub const RIDS: [&str; MAX_LAYERS] = ["f", "h", "q"];
pub const MAX_LAYERS: usize = 3;
/// A layer's part of the bitrate of the largest: 2.5 Mb/s come with 750 and 200 kb/s.
const SHARES: [f64; MAX_LAYERS] = [1.0, 0.3, 0.08];
/// The size of the largest picture.
const WIDTH: u16 = 1280;
const HEIGHT: u16 = 720;

/// Bytes of a layer's frame where one of the largest layer has `bytes`.
#[must_use]
pub fn frame_bytes(bytes: usize, layer: usize) -> usize {
    (bytes as f64 * SHARES[layer]) as usize
}

/// Width and height of a layer's picture.
#[must_use]
pub fn size(layer: usize) -> (u16, u16) {
    (WIDTH >> layer, HEIGHT >> layer)
}

/// The SSRC of a layer whose publisher sends the largest with `video`.
#[must_use]
pub fn ssrc(video: u32, layer: usize) -> u32 {
    video.wrapping_add(2 * layer as u32)
}
