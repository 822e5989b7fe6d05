//! Packets to a viewer that are padding and nothing else (RFC 3550 §5.1).

use super::{Elements, Lane};
use crate::drop::DropReason;
use crate::limits::PADDING_BYTES;
use crate::srtp::RtpSealer;
use crate::wire::rtp::HeaderWriter;

impl Lane {
    /// Writes a packet of padding alone under a number of a span that is over, under which nothing
    /// was sent; from now on nothing of that span comes late. Each time the same bytes.
    pub fn fill(
        &mut self,
        sealer: &RtpSealer,
        index: u64,
        slot: &mut [u8],
    ) -> Result<usize, DropReason> {
        let spans = self.before.iter_mut().flat_map(|before| before.spans.iter_mut().rev());
        let mut over = spans.filter(|span| index >= span.start());
        let over = if index < self.span.start() { over.next() } else { None };
        let span = over.ok_or(DropReason::RepairTooOld)?;
        span.sealed = true;
        let (timestamp, payload_type) = (span.live(), self.payload_type);
        let header = HeaderWriter {
            marker: false,
            padding: true,
            payload_type,
            sequence: index as u16,
            timestamp: self.viewer_timestamp(timestamp),
            ssrc: self.ssrc,
        };
        let start = header.write(&[], slot).ok_or(DropReason::TooLong)?;
        if start + 1 + sealer.overhead() > slot.len() {
            return Err(DropReason::TooLong);
        }
        slot[start] = 1;
        Ok(sealer.seal(slot, start, start + 1, self.ssrc, index))
    }

    /// Writes a packet of padding alone on the SSRC of retransmissions, under a transport-wide
    /// `number`: media would have a number without a picture. It names its section, or Firefox does
    /// not count it. Without RTX nothing is written.
    pub fn pad(
        &mut self,
        sealer: &RtpSealer,
        number: u16,
        slot: &mut [u8],
    ) -> Result<usize, DropReason> {
        let payload_type = self.rtx_payload_type.ok_or(DropReason::UnknownEncoding)?;
        self.rtx_index += 1;
        let header = HeaderWriter {
            marker: false,
            padding: true,
            payload_type,
            sequence: self.rtx_index as u16,
            timestamp: self.viewer_timestamp(self.span.live()),
            ssrc: self.rtx_ssrc,
        };
        let number = number.to_be_bytes();
        let id = self.extensions.transport_sequence.ok_or(DropReason::UnknownEncoding)?;
        let mut elements = Elements::default();
        elements.push(self.extensions.mid, &self.mid[..usize::from(self.mid_length)]);
        elements.push(Some(id), &number);
        let start = header.write(elements.as_slice(), slot).ok_or(DropReason::TooLong)?;
        let length = start + usize::from(PADDING_BYTES);
        if length + sealer.overhead() > slot.len() {
            return Err(DropReason::TooLong);
        }
        slot[start..length].fill(0);
        slot[length - 1] = PADDING_BYTES;
        Ok(sealer.seal(slot, start, length, self.rtx_ssrc, self.rtx_index))
    }
}
