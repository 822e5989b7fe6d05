//! What an SSRC sends that was not heard before.

use super::extensions::Said;
use super::sources::{Rid, Role};
use super::{Ingest, Micros};
use crate::drop::DropReason;
use crate::limits::MAX_SOURCES;
use crate::wire::rtp::Header;

/// The SSRC of libwebrtc's probes before there is media: padding that only feedback is about.
const PROBE_SSRC: u32 = 0;

impl Ingest {
    /// Learns from an authentic packet what its SSRC sends and returns its place: by MID and RID,
    /// which ride along until they are known, else by the offer, else by the payload type.
    ///
    /// # Errors
    /// Why it belongs to no layer of a track.
    #[cold]
    pub(super) fn learn(
        &mut self,
        header: &Header,
        said: &Said<'_>,
        now: Micros,
    ) -> Result<usize, DropReason> {
        let role = self.role(header, said, now)?;
        let (place, forgotten) = self.sources.insert(header.ssrc, role, now);
        self.totals.lost_before += forgotten.map_or(0, |source| source.reception.lost());
        Ok(place)
    }

    fn role(&mut self, header: &Header, said: &Said<'_>, now: Micros) -> Result<Role, DropReason> {
        let Header { ssrc, payload_type, .. } = *header;
        if ssrc == PROBE_SSRC {
            return Ok(Role::Probe);
        }
        let offered = self.terms.sources.iter().find(|offered| offered.ssrc == ssrc).copied();
        let track = match said.mid {
            Some(mid) => self.terms.tracks.iter().position(|track| track.mid.as_bytes() == mid),
            None => offered.map(|offered| offered.track).or_else(|| self.by_type(payload_type)),
        };
        let track = track.ok_or(DropReason::UnknownTrack)?;
        let terms = &self.terms.tracks[track];
        let repairs = offered.and_then(|offered| offered.repairs);
        let is_repair =
            said.repaired_rid.is_some() || repairs.is_some() || terms.is_rtx(payload_type);
        if !is_repair && terms.answered(payload_type).is_none() {
            return Err(DropReason::UnknownPayloadType);
        }
        let name = if is_repair { said.repaired_rid.or(said.rid) } else { said.rid };
        let rid = match name {
            Some(name) => Some(Rid::new(name).ok_or(DropReason::UnknownTrack)?),
            None => None,
        };
        let id = terms.id;
        let layer = self.sources.layer(track, rid, now).ok_or(DropReason::TooManyLayers)?;
        if let Some(rid) = rid.filter(|_| self.named.len() < MAX_SOURCES) {
            self.named.push((id, layer, rid.name()));
        }
        Ok(if is_repair {
            Role::Repair { track, layer, of: repairs }
        } else {
            Role::Media(self.sources.next_part(track, layer, now))
        })
    }

    /// The track that alone has a payload type; where two have it, it says nothing.
    fn by_type(&self, payload_type: u8) -> Option<usize> {
        let tracks = self.terms.tracks.iter().enumerate();
        let mut fit = tracks.filter(|(_, track)| {
            track.answered(payload_type).is_some() || track.is_rtx(payload_type)
        });
        let (first, _) = fit.next()?;
        fit.next().is_none().then_some(first)
    }
}
