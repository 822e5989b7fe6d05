//! Which layer a viewer is to get and which it has, and why, for those who look at it.

use super::stream::{Stream, Viewer};
use super::{StreamShared, Wish, picture_in};
use crate::id::TrackKind;
use crate::telemetry::{LayerGot, LayerReason};

impl Stream {
    /// The layer of its first video that a viewer is to get, the one it has, and why; `None` where
    /// it comes in one layer, which can't be thinned.
    #[must_use]
    pub fn layer_got(&self, viewer: &Viewer) -> Option<LayerGot> {
        let shared: &StreamShared = &self.shared;
        let mut lanes = viewer.egress.lanes().iter().enumerate();
        let (number, lane) = lanes.find(|(_, lane)| lane.id().kind == TrackKind::Video)?;
        let (pictures, points) = (shared.pictures(lane.id()), shared.points(lane.id()));
        if points.len() < 2 {
            return None;
        }
        let best = shared.best_layer(lane.id());
        let aims = viewer.aims.as_ref();
        let aim = aims.and_then(|aims| aims.get(number).copied()).unwrap_or_default();
        // As if all of them flowed.
        let mut all = points.clone();
        all.iter_mut().for_each(|offer| offer.flows = true);
        let (wanted, goal) = (aim.renewed(&all, best).goal, aim.renewed(&points, best).goal);
        let got = lane.layer();
        let why = match (aim.wish, aim.chosen) {
            _ if got != Some(goal) => LayerReason::Awaited,
            _ if goal != wanted => LayerReason::Silent,
            (Wish::Layer(_), _) => LayerReason::Asked,
            (_, Some(chosen)) if chosen == goal => LayerReason::Carried,
            (Wish::Within(_), _) => LayerReason::Enough,
            (Wish::Automatic, _) => LayerReason::Best,
        };
        let distance = got
            .and_then(|got| picture_in(&pictures, got))
            .map_or(0, |place| pictures.len() - 1 - place);
        let asked = matches!(aim.wish, Wish::Layer(_));
        Some(LayerGot { wanted, got, why, asked, below_largest: distance as u8 })
    }
}
