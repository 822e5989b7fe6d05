//! One synthetic peer: its transport, and what it does once that is up.

use crate::beat::Beat;
use crate::clock::{self, Came};
use crate::hardship::Hardships;
use crate::lens::Lens;
use crate::link::Link;
use crate::media::Format;
use crate::outbox::Outbox;
use crate::publisher::{Publisher, Shape};
use crate::rebind::{Gap, Moved};
use crate::sdp::{Answer, Ssrcs};
use crate::served::{Server, Servers};
use crate::stream::Stream;
use crate::sums::Sums;
use crate::tally::bump;
use crate::transport::{Credentials, Keys, Progress, Transport, Wire};
use crate::viewer::Viewer;
use crate::worker::Setup;
use monoport::net::Destination;
use monoport::wire::kind::{self, Kind};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A browser's receiver reports for video are about this far apart.
const REPORT_INTERVAL: Duration = Duration::from_millis(1_000);

/// Who looks at pictures asks for what lacks this often.
const WISH_INTERVAL: Duration = Duration::from_millis(20);

/// A peer whose offer was answered.
pub struct Plan {
    pub stream: Arc<Stream>,
    /// What it sends, and with which SSRCs; `None` for a viewer.
    pub publishes: Option<(Shape, Ssrcs)>,
    /// The codec of video, where there is any.
    pub video: Option<Format>,
    pub credentials: Credentials,
    pub answer: Answer,
    /// The candidate of the answer that is used.
    pub remote: SocketAddr,
    /// Whose it is.
    pub server: Server,
    /// When the offer was posted.
    pub posted: Instant,
    /// When it changes its address, after the measurement began.
    pub rebind_after: Option<Duration>,
    /// Of a viewer: whether its pictures are looked at, and what it is behind.
    pub pictures: bool,
    pub link: Option<Link>,
}

/// What happens to a peer.
pub enum Input<'a> {
    Datagram {
        bytes: &'a [u8],
        from: SocketAddr,
        came: Came,
    },
    /// A deadline came; `silent` when publishers are to send no more media.
    Timer {
        silent: bool,
    },
}

pub struct Peer {
    transport: Transport,
    socket: usize,
    to: Destination,
    server: Server,
    media: Media,
    posted: Instant,
    connected: Option<Instant>,
    failure: Option<&'static str>,
    next_report: Instant,
    gap: Gap,
    /// When what lacks is asked for; `None` for who does not look at pictures.
    wishes: Option<Beat>,
    link: Option<Box<Link>>,
}

enum Media {
    /// Until the handshake is done.
    Waiting {
        stream: Arc<Stream>,
        publishes: Option<(Shape, Ssrcs)>,
        video: Option<Format>,
        answer: Box<Answer>,
    },
    Publishing(Box<Publisher>),
    Viewing(Box<Viewer>),
    /// The session is over.
    Gone,
}

/// Sends from a peer's address to its server.
struct Route<'a> {
    outbox: &'a mut Outbox,
    socket: usize,
    to: Destination,
}

impl Wire for Route<'_> {
    fn datagram(&mut self, fill: &mut dyn FnMut(&mut [u8]) -> usize) {
        self.outbox.send(self.socket, self.to, fill);
    }
}

impl Peer {
    #[must_use]
    pub fn new(plan: Plan, socket: usize, to: Destination, now: Instant) -> Self {
        // Spreads the first reports of a ramp over their interval.
        let phase = plan.posted.elapsed().subsec_nanos() % 1_000_000_000;
        let tie_breaker = u64::from(phase) << 32 | u64::from(to.remote.port());
        Self {
            transport: Transport::new(plan.credentials, &plan.answer, tie_breaker, now),
            socket,
            to,
            server: plan.server,
            media: Media::Waiting {
                stream: plan.stream,
                publishes: plan.publishes,
                video: plan.video,
                answer: Box::new(plan.answer),
            },
            posted: plan.posted,
            connected: None,
            failure: None,
            next_report: now + REPORT_INTERVAL,
            gap: Gap::default(),
            wishes: plan.pictures.then(|| Beat::new(WISH_INTERVAL, now)),
            link: plan.link.map(Box::new),
        }
    }

    /// Where it sends.
    #[must_use]
    pub fn remote(&self) -> SocketAddr {
        self.to.remote
    }

    /// From here on it is at another address, without knowing.
    pub fn rebind(&mut self, socket: usize, local: IpAddr) {
        self.socket = socket;
        self.to.local = local;
        self.gap.begin();
    }

    /// Whether what comes to `local` at `socket` reaches it: what a NAT has forgotten does not.
    #[must_use]
    pub fn is_at(&self, socket: usize, local: IpAddr) -> bool {
        let known = self.to.local;
        self.socket == socket && (known.is_unspecified() || known == local)
    }

    /// When the next [`Input::Timer`] is due.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        let transport = self.transport.deadline();
        let arrives = self.link.as_ref().and_then(|link| link.due_ns()).map(clock::instant);
        let transport = arrives.map_or(transport, |at| at.min(transport));
        match &self.media {
            Media::Waiting { .. } | Media::Gone => transport,
            Media::Publishing(publisher) => transport.min(publisher.deadline()),
            Media::Viewing(viewer) => {
                let reports = transport.min(self.next_report);
                let wishes = self.wishes.as_ref().and_then(Beat::due);
                wishes.into_iter().chain(viewer.feedback_due()).fold(reports, Instant::min)
            }
        }
    }

    /// Why the session is over, if it is.
    #[must_use]
    pub fn failure(&self) -> Option<&'static str> {
        self.failure
    }

    /// Milliseconds from posting the offer to having keys.
    #[must_use]
    pub fn setup_ms(&self) -> Option<f64> {
        let connected = self.connected?;
        Some(connected.saturating_duration_since(self.posted).as_secs_f64() * 1_000.0)
    }

    /// Of a viewer: packets from its first to its newest, and how many of them it got.
    #[must_use]
    pub fn progress(&self) -> (u64, u64) {
        let Media::Viewing(viewer) = &self.media else { return (0, 0) };
        let ((video, _), (audio, _)) = viewer.accounts();
        (video.spanned() + audio.spanned(), video.received + audio.received)
    }

    /// Begins or ends the measurement of what a viewer sees.
    pub fn measure(&mut self, measuring: bool, now_ns: u64) {
        if let Media::Viewing(viewer) = &mut self.media {
            viewer.measure(measuring, now_ns);
        }
    }

    /// Takes an input; returns whether it was a packet of media for a viewer.
    #[inline]
    pub fn handle(
        &mut self,
        input: Input<'_>,
        setup: &Setup,
        now: Instant,
        outbox: &mut Outbox,
        lens: &mut Lens,
    ) -> bool {
        let Some(link) = &mut self.link else {
            return self.arrived(input, setup, now, outbox, lens);
        };
        match input {
            Input::Datagram { bytes, came, .. } => {
                link.take(bytes, came.arrived_ns, lens.measuring_since_ns);
                kind::of(bytes) == Some(Kind::Rtp)
            }
            Input::Timer { .. } => {
                let (from, now_ns) = (self.to.remote, clock::since_epoch_ns(now));
                while let Some((arrived_ns, bytes)) =
                    self.link.as_mut().and_then(|link| link.arrived(now_ns))
                {
                    let came = Came { arrived_ns, now_ns: arrived_ns };
                    let input = Input::Datagram { bytes: &bytes, from, came };
                    self.arrived(input, setup, now, outbox, lens);
                }
                self.arrived(input, setup, now, outbox, lens)
            }
        }
    }

    fn arrived(
        &mut self,
        input: Input<'_>,
        setup: &Setup,
        now: Instant,
        outbox: &mut Outbox,
        lens: &mut Lens,
    ) -> bool {
        let mut route = Route { outbox, socket: self.socket, to: self.to };
        let progress = match input {
            Input::Datagram { bytes, from, came } => match (kind::of(bytes), &mut self.media) {
                (Some(Kind::Rtp), Media::Viewing(viewer)) => {
                    self.gap.arrived(came.now_ns);
                    let lost = viewer.on_rtp(bytes, came, lens);
                    if let Some(wishes) = &mut self.wishes {
                        wishes.want(viewer.lacks(), now);
                    }
                    if !lost.is_empty() {
                        route.datagram(&mut |slot| viewer.write_nack(&lost, slot));
                    }
                    return true;
                }
                (Some(Kind::Rtcp), Media::Viewing(viewer)) => {
                    viewer.on_rtcp(bytes, came.now_ns, lens);
                    Progress::Nothing
                }
                (Some(Kind::Rtcp), Media::Publishing(publisher)) => {
                    publisher.on_rtcp(bytes, &mut route);
                    Progress::Nothing
                }
                (Some(Kind::Stun), _) => {
                    self.transport.on_stun(bytes, from, &setup.identity, now, &mut route)
                }
                (Some(Kind::Dtls), _) => self.transport.on_dtls(bytes, &mut route),
                _ => Progress::Nothing,
            },
            Input::Timer { silent } => {
                let progress = self.transport.on_timer(now, &mut route);
                match &mut self.media {
                    Media::Publishing(publisher) if !silent => {
                        publisher.on_timer(now, lens, &mut route);
                    }
                    Media::Publishing(publisher) => publisher.rest(now),
                    Media::Viewing(viewer) => {
                        report(viewer, &mut self.next_report, now, &mut route);
                        wish(viewer, self.wishes.as_mut(), now, &mut route);
                    }
                    Media::Waiting { .. } | Media::Gone => {}
                }
                progress
            }
        };
        self.advance(progress, setup, now, lens);
        false
    }

    fn advance(&mut self, progress: Progress, setup: &Setup, now: Instant, lens: &mut Lens) {
        match progress {
            Progress::Nothing => {}
            Progress::Connected(keys) => self.connect(&keys, setup, now, lens),
            Progress::Failed(reason) => {
                self.failure = Some(reason);
                if self.connected.is_some() {
                    bump(&setup.tally.lost_consent, 1);
                } else {
                    bump(&setup.tally.failed, 1);
                    self.media = Media::Gone;
                }
            }
        }
    }

    fn connect(&mut self, keys: &Keys, setup: &Setup, now: Instant, lens: &mut Lens) {
        self.connected = Some(now);
        self.media = match std::mem::replace(&mut self.media, Media::Gone) {
            Media::Waiting { stream, publishes: Some((shape, ssrcs)), answer, .. } => {
                bump(&setup.tally.publishers_connected, 1);
                let publisher = Publisher::new(stream, shape, ssrcs, &answer, keys, now);
                Media::Publishing(Box::new(publisher))
            }
            Media::Waiting { stream, publishes: None, video, answer } => {
                bump(&setup.tally.viewers_connected, 1);
                let now_ns = clock::since_epoch_ns(now);
                let viewer = Viewer::new(stream, video, &answer, keys, now_ns);
                let viewer = viewer.of_server(lens.servers.place(&self.server));
                let linked = self.link.is_some();
                let viewer =
                    if self.wishes.is_some() { viewer.with_screen(linked) } else { viewer };
                Media::Viewing(Box::new(viewer))
            }
            other => other,
        };
    }

    /// Adds what this peer lacks at `now_ns`; one whose address has changed is counted elsewhere.
    pub fn add_hardships(&self, hardships: &mut Hardships, now_ns: u64) {
        let Media::Viewing(viewer) = &self.media else { return };
        if self.gap.has_moved() || self.link.is_some() {
            return;
        }
        for mut hardship in viewer.hardships(now_ns) {
            hardship.viewer = self.to.local.to_string();
            hardships.add(hardship);
        }
    }

    /// Adds what this peer got to its server's; one whose address has changed is counted elsewhere.
    pub fn add_served(&self, servers: &mut Servers) {
        let Media::Viewing(viewer) = &self.media else { return };
        if !self.gap.has_moved() && self.link.is_none() {
            servers.add_viewer(&self.server, viewer);
        }
    }

    /// Adds what this peer counted: to `moved` if its address has changed.
    pub fn add_to(&self, sums: &mut Sums, moved: &mut Moved) {
        match &self.media {
            Media::Viewing(viewer) if self.gap.has_moved() => {
                let (video, audio) = viewer.accounts();
                moved.add(self.gap, [video, audio]);
            }
            Media::Publishing(publisher) => sums.add_publisher(publisher),
            Media::Viewing(viewer) => match &self.link {
                Some(link) => sums.linked.add_viewer(viewer, link.counts),
                None => sums.add_viewer(viewer),
            },
            Media::Waiting { .. } | Media::Gone => {}
        }
    }
}

/// Sends what a viewer has to say at `now`: feedback several times a second where the server wants
/// it, and a report.
fn report(viewer: &mut Viewer, next_report: &mut Instant, now: Instant, route: &mut Route<'_>) {
    if viewer.feedback_due().is_some_and(|due| now >= due) {
        route.datagram(&mut |slot| viewer.write_feedback(now, slot));
    }
    if now >= *next_report {
        *next_report = now + REPORT_INTERVAL;
        let now_ns = clock::since_epoch_ns(now);
        route.datagram(&mut |slot| viewer.write_report(now_ns, slot));
    }
}

/// Asks for what lacks, if anything does and its time has come at `now`.
fn wish(viewer: &mut Viewer, wishes: Option<&mut Beat>, now: Instant, route: &mut Route<'_>) {
    let Some(wishes) = wishes.filter(|wishes| wishes.due().is_some_and(|due| now >= due)) else {
        return;
    };
    let now_ns = clock::since_epoch_ns(now);
    route.datagram(&mut |slot| viewer.write_wishes(now_ns, slot));
    wishes.said(false, now);
    wishes.want(viewer.lacks(), now);
}
