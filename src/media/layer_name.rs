//! What a publisher calls a layer: its RID.

/// A RID (RFC 8852 §3.1), zeros behind it. There is no bound to its length; browsers' have one
/// letter to a handful, and what is longer than this is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LayerName(pub [u8; LayerName::MAX]);

impl LayerName {
    /// The longest that is known by its name.
    pub const MAX: usize = 16;

    /// The name, if it has one that may be shown: letters, digits, `-` and `_` (RFC 8852 §3.3).
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        let length = self.0.iter().position(|byte| *byte == 0).unwrap_or(LayerName::MAX);
        let name = self.0.get(..length).filter(|name| !name.is_empty())?;
        let may = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_".contains(byte);
        std::str::from_utf8(name).ok().filter(|name| name.as_bytes().iter().all(may))
    }
}
