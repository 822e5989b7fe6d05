//! Who has no picture of the layer it is to get, and can't count on one soon, is given what there
//! is of a lower one: its newest key frame and what came since ([`super::Replay`]).
//!
//! That is who has just come to a stream of which nothing is kept that a decoder can begin with;
//! who has a layer that has fallen silent; and who has lost what can't be sent again any more,
//! where the publisher leaves requests for key frames unanswered. It goes on with the layer it is
//! to get once that has a key frame.

use smallvec::SmallVec;

use super::stream::{Stream, Viewer};
use super::{KeyframeRequests, StreamShared, Track, layer_of};
use crate::egress::Feedback;
use crate::limits::{MAX_LAYERS, MAX_TRACKS_OF_A_KIND};

const _: () = assert!(2 * MAX_TRACKS_OF_A_KIND <= 8, "a bit for each lane");

impl Viewer {
    /// Whether a lane shows nothing before the next key frame of its layer.
    pub(super) fn is_broken(&self, lane: usize) -> bool {
        self.broken & 1 << lane != 0
    }

    pub(super) fn set_broken(&mut self, lane: usize, broken: bool) {
        self.broken = self.broken & !(1 << lane) | u8::from(broken) << lane;
    }

    /// Who waits for key frames of the layer that a lane has.
    fn keyframes_of<'a>(&self, lane: usize, tracks: &'a [Track]) -> Option<&'a KeyframeRequests> {
        let lane = self.egress.lanes().get(lane)?;
        let track = tracks.iter().find(|track| track.id() == lane.id())?;
        track.keyframes(lane.layer()?)
    }

    /// Lanes whose key frame has come show something again.
    pub(super) fn mend(&mut self, tracks: &[Track]) {
        for lane in 0..self.egress.lanes().len() {
            let keyframes = self.keyframes_of(lane, tracks);
            if self.is_broken(lane) && keyframes.is_none_or(|waits| !waits.is_wanted()) {
                self.set_broken(lane, false);
            }
        }
    }

    /// Whether a lane has no picture, and is not about to get one.
    pub(super) fn has_no_picture(
        &self,
        lane: usize,
        tracks: &[Track],
        shared: &StreamShared,
    ) -> bool {
        let Some(keyframes) = self.keyframes_of(lane, tracks) else { return true };
        let track = &self.egress.lanes()[lane];
        let layer = track.layer().map(layer_of);
        let has_gone = |offered: &super::Offered| Some(offered.layer) == layer && !offered.flows;
        match self.is_broken(lane) {
            true => keyframes.is_overdue(),
            false => shared.offered(track.id()).iter().any(has_gone),
        }
    }
}

impl Stream {
    /// Notes the key frames that the viewer at `position` needs: of the layers it gets, or, before
    /// it gets any, of the one it would get. True where it may be better off with another layer.
    pub(super) fn note_keyframes(&mut self, position: usize, feedback: &Feedback) -> bool {
        let Stream { tracks, viewers, .. } = self;
        let Some(viewer) = viewers.get_mut(position) else { return false };
        for number in &feedback.keyframes {
            let lane = &viewer.egress.lanes()[*number];
            let track = tracks.iter_mut().find(|track| track.id() == lane.id());
            let Some(track) = track else { continue };
            let (has, several) = (lane.layer(), track.layers().len() > 1);
            if let Some(keyframes) = track.keyframes_mut(has.unwrap_or(track.best_layer())) {
                keyframes.request();
                viewer.set_broken(*number, has.is_some() && several);
            }
        }
        viewer.broken != 0
    }

    /// The layers that a lane of the viewer at `position` may be given instead of `goal`, the best
    /// of them first. Where their packets come from another shard, only those that come already.
    pub(super) fn instead_of(
        &self,
        (position, lane): (usize, usize),
        goal: u8,
    ) -> SmallVec<[u8; MAX_LAYERS]> {
        let Some(viewer) = self.viewers.get(position) else { return SmallVec::new() };
        let lane = &viewer.egress.lanes()[lane];
        let Some(track) = self.track(lane.id()) else { return SmallVec::new() };
        let offered = self.shared.offered(lane.id());
        let below = offered.iter().take_while(|offer| offer.layer != layer_of(goal));
        let is_here = self.shared.publisher() == Some(self.shard);
        let fit = below.filter(|offer| {
            let comes = is_here || track.is_taken(offer.layer);
            comes && offer.flows && lane.layer().map(layer_of) != Some(offer.layer)
        });
        let mut layers: SmallVec<[u8; MAX_LAYERS]> = fit.map(|offer| offer.layer).collect();
        layers.reverse();
        layers
    }
}
