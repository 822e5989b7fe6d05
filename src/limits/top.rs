//! Bounds of the terminal (`monoport top`).

/// Seconds of traffic the sparklines of `monoport top` remember: a wide terminal has 300 columns.
pub const TOP_HISTORY_SECONDS: usize = 300;

/// Answers that wait to be drawn, and questions that wait to be asked, in `monoport top`: either
/// side is a moment behind at most. A question without a place is asked with the next look.
pub const TOP_QUEUE: usize = 4;
