//! What goes out by one link: what it begins with, each packet, and again what was lost.

use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::feed::Feed;
use super::links::Reach;
use super::taking::Taking;
use crate::drop::DropReason;
use crate::id::{TrackKey, TrackKind};
use crate::limits::{LINK_CATCH_UP, LINK_CATCH_UP_TICK, MAX_LAYERS};
use crate::link::{self, Had, Outgoing};
use crate::media::MediaPacket;
use crate::net::Way;
use crate::track::Streams;

/// The other end of a link is there: it gets what a viewer would begin with,
/// or what it lacks.
pub(super) fn begin(
    now: Instant,
    (outgoing, taking): (&mut Outgoing, &mut Taking),
    had: Option<&Had>,
    feed: Option<&Feed>,
    (streams, reach): (&mut Streams, &mut Reach<'_>),
) {
    let Some(feed) = feed else { return };
    taking.choose(outgoing, feed.stream, streams);
    taking.anew = true;
    let same = had.zip(streams.publication(feed.stream));
    let same = same.filter(|(had, publication)| had.publication == publication.name);
    let first = match same {
        Some((had, publication)) => {
            feed.begins_behind(publication.number, had, |packet| taking.takes(packet))
        }
        None => feed.begins(streams),
    };
    outgoing.begin(now, taking.places.next());
    let is_timed = taking.tell_clocks(now, outgoing, (feed.stream, streams), reach);
    let is_here = streams.publication(feed.stream).is_none_or(|known| known.relayed.is_none());
    let mut begun = Begun { is_timed, is_here, layers: SmallVec::new() };
    match same {
        Some((had, _)) => {
            let (had, until) = (had.clone(), now + LINK_CATCH_UP);
            taking.behind = Some(Box::new(Behind { had, begun, next: first, until }));
            catch_up(now, (outgoing, taking), feed, reach);
        }
        None => {
            for place in first..feed.next {
                let packet = feed.at(place).filter(|packet| taking.takes(packet));
                if let Some(packet) =
                    packet.filter(|packet| begun.is_of_use(place, packet, feed, None))
                {
                    media(now, (outgoing, taking), (place, packet), reach);
                }
            }
        }
    }
    let waits = !is_timed && !is_here;
    let layers: SmallVec<[_; MAX_LAYERS]> = match waits {
        true => taking.layers(feed.stream, streams).collect(),
        false => SmallVec::new(),
    };
    layers.into_iter().for_each(|(track, layer)| streams.want_keyframe(track, Some(layer)));
}

/// Who had the stream from another node, and is sent what it lacks by and by. What comes meanwhile
/// waits behind that.
pub(super) struct Behind {
    had: Had,
    begun: Begun,
    /// The place of the next packet, and when there is to be none left.
    next: u64,
    until: Instant,
}

/// Sends what is due of what the other end lacks. Returns when more is.
pub(super) fn catch_up(
    now: Instant,
    (outgoing, taking): (&mut Outgoing, &mut Taking),
    feed: &Feed,
    reach: &mut Reach<'_>,
) -> Option<Instant> {
    let mut behind = taking.behind.take()?;
    let left = behind.until.saturating_duration_since(now);
    let end = behind.next + share(feed.next.saturating_sub(behind.next), left);
    for place in behind.next..end {
        let Behind { had, begun, .. } = &mut *behind;
        let packet = feed.at(place).filter(|packet| taking.takes(packet));
        if let Some(packet) = packet.filter(|p| begun.is_of_use(place, p, feed, Some(had))) {
            media(now, (outgoing, taking), (place, packet), reach);
        }
    }
    behind.next = end;
    taking.behind = Some(behind).filter(|_| end < feed.next);
    taking.behind.as_ref().map(|_| now + LINK_CATCH_UP_TICK)
}

/// How many of `all` packets leave at once where there is so much time for them.
fn share(all: u64, left: Duration) -> u64 {
    let ticks = (left.as_micros() / LINK_CATCH_UP_TICK.as_micros()) as u64 + 1;
    all.div_ceil(ticks)
}

/// Where the newest key frame of each layer begins, looked up once.
struct Begun {
    /// Whether the time in all of them is known: else they begin all at once, so that it can be
    /// told from when they come. What a link has brought need not have come when it was made.
    is_timed: bool,
    is_here: bool,
    layers: SmallVec<[(TrackKey, u8, Option<u64>); MAX_LAYERS]>,
}

impl Begun {
    /// Whether anybody can begin with a packet, or go on with what there was. Of a layer without a
    /// key frame that is said to be so of all: it is worth its way if only to show that it flows.
    fn is_of_use(
        &mut self,
        place: u64,
        packet: &MediaPacket,
        feed: &Feed,
        had: Option<&Had>,
    ) -> bool {
        let MediaPacket { track, layer, .. } = *packet;
        let has = had.is_some_and(|had| had.has(track.id, layer));
        if track.id.kind == TrackKind::Audio || has {
            return true;
        }
        if !self.is_timed {
            return self.is_here;
        }
        let known = self.layers.iter().find(|known| (known.0, known.1) == (track, layer));
        let begins = known.map_or_else(|| feed.keyframe_of(track, layer), |known| known.2);
        if known.is_none() {
            self.layers.push((track, layer, begins));
        }
        begins.is_none_or(|begins| place >= begins)
    }
}

/// Sends a packet that is kept at a place.
pub(super) fn media(
    now: Instant,
    (outgoing, taking): (&mut Outgoing, &mut Taking),
    (place, packet): (u64, &MediaPacket),
    reach: &mut Reach<'_>,
) {
    let position = taking.places.next();
    front(outgoing, position, packet, reach);
    let Reach { to, ways, post } = reach;
    match ways.push(*to, |slot| outgoing.media(now, position, packet, slot)) {
        Ok(()) => {
            taking.places.push(place);
            post.counters().link_packets_out.add(1);
        }
        Err(reason) => post.dropped(reason),
    }
}

/// Sends what goes ahead of a packet that has no room in one datagram.
fn front(outgoing: &mut Outgoing, position: u64, packet: &MediaPacket, reach: &mut Reach<'_>) {
    let front = link::front_of(packet);
    let Reach { to, ways, post } = reach;
    if !front.is_empty()
        && let Err(reason) = ways.push(*to, |slot| outgoing.front(position, front, slot))
    {
        post.dropped(reason);
    }
}

/// Sends again what was asked for.
pub(super) fn repair(
    (outgoing, taking): (&mut Outgoing, &mut Taking),
    feed: Option<&Feed>,
    positions: &[u64],
    reach: &mut Reach<'_>,
) {
    for position in positions {
        let place = taking.places.ask(*position);
        taking.missed += u64::from(place.is_some_and(|(_, is_first)| is_first));
        let packet = feed.zip(place).and_then(|(feed, (place, _))| feed.at(place));
        let pushed = packet.ok_or(DropReason::LinkRepairTooOld).and_then(|packet| {
            if !outgoing.may_repair() {
                return Err(DropReason::LinkRepairLimited);
            }
            front(outgoing, *position, packet, reach);
            reach.ways.push(reach.to, |slot| outgoing.again(*position, packet, slot))
        });
        match pushed {
            Ok(()) => reach.post.counters().link_repairs_out.add(1),
            Err(reason) => reach.post.dropped(reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_somebody_lacks_leaves_in_half_a_second_and_never_much_of_it_at_once() {
        for (all, comes) in [(0, 0), (1, 0), (1_024, 0), (1_024, 20), (100, 2)] {
            let (mut left, mut missing, mut most) = (LINK_CATCH_UP, all, 0);
            loop {
                let sent = share(missing, left);
                most = most.max(sent);
                missing -= sent;
                if missing == 0 {
                    break;
                }
                missing += comes;
                left = left.saturating_sub(LINK_CATCH_UP_TICK);
            }
            let ticks = (LINK_CATCH_UP.as_millis() / LINK_CATCH_UP_TICK.as_millis()) as u64;
            assert!(most <= all.div_ceil(ticks) + 5 * comes, "{most} of {all} at once");
        }
        assert_eq!(share(1_024, Duration::ZERO), 1_024, "all that is left");
    }
}
