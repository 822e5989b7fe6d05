//! Numbers that need not begin at a byte.

/// Bits from the front of some bytes, the highest of each first.
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Bits<'a> {
    pub fn new(bytes: &'a [u8]) -> Bits<'a> {
        Bits { bytes, at: 0 }
    }

    /// The next `count` bits, 32 at most.
    pub fn take(&mut self, count: u32) -> Option<u32> {
        let mut value = 0u32;
        for _ in 0..count {
            let byte = *self.bytes.get(self.at / 8)?;
            value = value << 1 | u32::from(byte >> (7 - self.at % 8) & 1);
            self.at += 1;
        }
        Some(value)
    }

    /// An unsigned Exp-Golomb code (ITU-T H.264 §9.1).
    pub fn golomb(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while self.take(1)? == 0 {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        Some((1u32 << zeros) - 1 + self.take(zeros)?)
    }

    /// A number below `end`, a few dozen at most, in as few bits as that takes (`ns(n)`, AV1
    /// specification §4.10.7).
    pub fn below(&mut self, end: u32) -> Option<u32> {
        let width = end.checked_ilog2()? + 1;
        let short = (1 << width) - end;
        let value = self.take(width - 1)?;
        if value < short {
            return Some(value);
        }
        Some((value << 1) - short + self.take(1)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_below_another_takes_no_more_bits_than_it_needs() {
        // Below 5: two bits for 0 to 2, three for 3 and 4.
        let mut bits = Bits::new(&[0b0001_1011, 0b0111_0000]);
        let read: Vec<_> = (0..5).map(|_| bits.below(5)).collect();
        assert_eq!(read, [Some(0), Some(1), Some(2), Some(3), Some(4)]);
        assert_eq!((bits.below(1), bits.below(0)), (Some(0), None), "nothing needs no bits");
        assert_eq!((bits.take(4), bits.take(1)), (Some(0), None));
    }
}
