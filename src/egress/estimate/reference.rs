//! The reference time of transport-wide feedback: 24 bits in units of 64 ms, which wrap every
//! twelve days (draft-holmer-rmcat-transport-wide-cc-extensions-01 §3.1).

/// Microseconds of a unit, and of all of them.
const UNIT: i64 = 64_000;
const WRAP: i64 = UNIT << 24;

/// Goes on where the last one was.
#[derive(Debug, Default)]
pub(super) struct Reference {
    /// In microseconds and without its wrap.
    last: Option<i64>,
}

impl Reference {
    /// Microseconds since the viewer's clock began, or since some moment before that.
    pub fn unwrap(&mut self, reference: u32) -> i64 {
        let reference = i64::from(reference) * UNIT;
        let last = self.last.unwrap_or(reference);
        let ahead = (reference - last).rem_euclid(WRAP);
        let ahead = if ahead >= WRAP / 2 { ahead - WRAP } else { ahead };
        self.last = Some(last + ahead);
        last + ahead
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_on_over_the_end_of_its_bits_in_both_directions() {
        let mut reference = Reference::default();
        let end = (1 << 24) - 1;
        let times = [end, 0, 1, end, 2].map(|units| reference.unwrap(units) / UNIT);
        assert_eq!(times, [end, end + 1, end + 2, end, end + 3].map(i64::from));
    }
}
