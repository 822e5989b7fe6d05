//! From an offer to a session on its shard: publish and subscribe.

use std::net::SocketAddr;
use std::time::Instant;

use str0m::IceCreds;

use super::history::History;
use super::registry::Reservation;
use super::session::{self, LiveSession, unix_now};
use super::streams::Stream;
use super::{Caller, Control, ControlError, OnConflict, Owner, Refusal};
use crate::id::SessionKey;
use crate::session::{LocalIce, Negotiated, OfferError, ice_ufrag};
use crate::shard::{Command, SessionPort};
use crate::telemetry::limited;

/// A session that was set up.
pub struct Placement {
    /// Names the session in its URL: 128 random bits in hexadecimal, behind the name of the node
    /// where there are others.
    pub id: String,
    /// The SDP answer.
    pub answer: String,
    /// Names the ICE session, for ETag.
    pub etag: String,
}

/// What a client asked for, as far as it is remembered.
struct Asked {
    etag: String,
    remote_ufrag: Option<String>,
    publisher: bool,
    video_mid: Option<Box<str>>,
    caller: Caller,
    /// The codecs of audio and video.
    names: (Option<&'static str>, Option<&'static str>),
}

impl Asked {
    fn new(
        etag: String,
        sdp: &str,
        publisher: bool,
        caller: &Caller,
        names: (Option<&'static str>, Option<&'static str>),
    ) -> Asked {
        let remote_ufrag = ice_ufrag(sdp).map(str::to_owned);
        let video = sdp.split("\nm=").find(|section| section.starts_with("video"));
        let mid = video.and_then(|video| video.lines().find_map(|l| l.strip_prefix("a=mid:")));
        let video_mid = mid.map(|mid| mid.trim().into());
        Asked { etag, remote_ufrag, publisher, video_mid, caller: caller.clone(), names }
    }
}

impl Control {
    /// Sets up a publisher of `stream`. Whoever publishes it is replaced when the new one is
    /// connected and its first media is there; viewers stay, unless they do not take its codecs.
    ///
    /// # Errors
    /// What is wrong with the offer, [`ControlError::Conflict`] where the publisher there is is not
    /// to be replaced, or that there is no room.
    pub async fn publish(
        &self,
        stream: &str,
        sdp: &str,
        caller: &Caller,
    ) -> Result<Placement, ControlError> {
        if self.on_conflict == OnConflict::Refuse {
            // A node that can't ask serves alone.
            self.not_elsewhere(stream).await?;
        }
        let placed = self.with_room(|| self.set_up_publisher(stream, sdp, caller)).await;
        placed.inspect_err(|error| self.refused(stream, true, error))
    }

    fn set_up_publisher(
        &self,
        stream: &str,
        sdp: &str,
        caller: &Caller,
    ) -> Result<Placement, ControlError> {
        let carried = self.lock().carried(stream);
        let offer = self.negotiator.read_publisher(sdp, carried)?;
        self.admit_connecting(caller)?;
        let reservation = {
            let is_heard = |key| self.is_heard(key);
            self.lock().reserve_publisher(stream, &offer, is_heard)?
        };
        let mut held = Held { control: self, reservation: Some(reservation) };
        let reservation = held.reservation();
        let port = self.bind_own(&mut reservation.port)?;
        let Reservation { carried, codecs, ref shared, .. } = *reservation;
        let tcp_candidates = self.tcp_candidates();
        let local = self.local_ice(reservation, &tcp_candidates);
        let etag = local.credentials.ufrag.clone();
        let names = session::names(&codecs, |audio| offer.has(audio));
        let (now, codecs) = (Instant::now(), (carried, codecs));
        let negotiated = self.negotiator.publish(now, offer, local, codecs, shared.key);
        let asked = Asked::new(etag, sdp, true, caller, names);
        settle(held, port, negotiated, asked)
    }

    /// Whether media comes from the publisher of `stream` here.
    #[must_use]
    pub fn is_published(&self, stream: &str) -> bool {
        let publisher = self.lock().streams.get(stream).and_then(Stream::publisher);
        publisher.is_some_and(|publisher| self.is_heard(publisher))
    }

    /// Whether media comes from a publisher, by what its shard says of it every two seconds.
    fn is_heard(&self, publisher: SessionKey) -> bool {
        self.card(publisher).is_some_and(|card| {
            let is_silent = card.packets > 0 && card.bits_per_s == 0;
            card.first_media_ms.is_some() && !is_silent
        })
    }

    /// Refuses with [`ControlError::Elsewhere`] what another node that is alive has. What can't be
    /// asked is taken for nobody's: requests do not fail with the directory. Returns whether it was
    /// asked.
    async fn not_elsewhere(&self, stream: &str) -> Result<bool, ControlError> {
        let resolved = self.owner(stream).await;
        let (is_known, owner) = (resolved.is_ok(), resolved.unwrap_or_default());
        let owner = owner.filter(|owner| owner.node != self.member.node);
        match owner {
            Some(Owner { node, http: Some(http), .. }) => {
                Err(ControlError::Elsewhere { stream: stream.to_owned(), node, http })
            }
            _ => Ok(is_known),
        }
    }

    /// Sets up a viewer of `stream`.
    ///
    /// # Errors
    /// What is wrong with the offer, that nobody publishes the stream here (unless viewers may wait
    /// for that), or that there is no room.
    pub async fn subscribe(
        &self,
        stream: &str,
        sdp: &str,
        caller: &Caller,
    ) -> Result<Placement, ControlError> {
        if self.whep_wait && !self.is_brought(stream) {
            self.not_elsewhere(stream).await?;
        }
        let placed = self.with_room(|| self.set_up_viewer(stream, sdp, caller)).await;
        match placed {
            Err(ControlError::NoPublisher(_)) if !self.not_elsewhere(stream).await? => {
                return Err(ControlError::Unknown(stream.to_owned()));
            }
            // Who takes no more sessions knows yet where the stream is.
            Err(ControlError::NoRoom(_)) if self.member.has_others && self.is_stopping() => {
                self.not_elsewhere(stream).await?;
            }
            _ => {}
        }
        placed.inspect_err(|error| self.refused(stream, false, error))
    }

    fn set_up_viewer(
        &self,
        stream: &str,
        sdp: &str,
        caller: &Caller,
    ) -> Result<Placement, ControlError> {
        let offer = self.negotiator.read_viewer(sdp)?;
        self.admit_connecting(caller)?;
        let reservation = self.lock().reserve_viewer(stream, self.whep_wait)?;
        let mut held = Held { control: self, reservation: Some(reservation) };
        let reservation = held.reservation();
        let port = self.bind_own(&mut reservation.port)?;
        let tcp_candidates = self.tcp_candidates();
        let local = self.local_ice(reservation, &tcp_candidates);
        let etag = local.credentials.ufrag.clone();
        let names = session::names(&reservation.codecs, |audio| offer.has(audio));
        let negotiated = self.negotiator.watch(Instant::now(), offer, local, reservation.codecs);
        let asked = Asked::new(etag, sdp, false, caller, names);
        settle(held, port, negotiated, asked)
    }

    /// A session's name in its URL, which names this node where there are others: any of them may
    /// be asked about it.
    fn session_id(&self) -> String {
        let secret = random_hex(16);
        match self.member.has_others {
            true => format!("{}-{secret}", self.member.node),
            false => secret,
        }
    }

    fn refused(&self, stream: &str, publisher: bool, error: &ControlError) {
        let Some(reason) = error.failure() else { return };
        let refusal = Refusal {
            at: unix_now(),
            stream: stream.into(),
            publisher,
            reason,
            words: error.to_string().into(),
        };
        self.lock().ended.refuse(refusal);
    }

    fn local_ice<'a>(
        &self,
        reservation: &'a Reservation,
        tcp_candidates: &'a [SocketAddr],
    ) -> LocalIce<'a> {
        let ufrag = self.wiring.ufrag_key.encode_at(self.node_number(), reservation.key, 0);
        let ufrag = ufrag.as_str().to_owned();
        let credentials = IceCreds { ufrag, pass: random_hex(16) };
        let candidates = &reservation.port.candidates;
        LocalIce { credentials, candidates, tcp_candidates }
    }
}

/// A reservation that is given back when it is dropped: with an error, by a panic, or because
/// nobody waits for the answer any more.
struct Held<'a> {
    control: &'a Control,
    /// There until a session has it.
    reservation: Option<Reservation>,
}

impl Held<'_> {
    fn reservation(&mut self) -> &mut Reservation {
        self.reservation.as_mut().expect("no session has it yet")
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if let Some(Reservation { key, port, stream, .. }) = self.reservation.take() {
            self.control.lock().give_back(key, &port, &stream);
        }
    }
}

/// Turns a reservation into a session, or gives it back.
fn settle(
    mut held: Held<'_>,
    session_port: SessionPort,
    negotiated: Result<Negotiated, OfferError>,
    asked: Asked,
) -> Result<Placement, ControlError> {
    let Asked { etag, remote_ufrag, publisher, video_mid, caller, names: (audio, video) } = asked;
    let Negotiated { mut session, negotiation, codecs, payloads, answer, template } = negotiated?;
    let control = held.control;
    let Reservation { key, ref shared, ref stream, .. } = *held.reservation();
    if control.lock().ended.lacked_certificate(stream, &caller) {
        session.expect_any_certificate();
    }
    let (session, stream) = (Box::new(session), shared.clone());
    let command = Command::Add { key, port: session_port, session, stream };
    // Dropped before `held`, which takes it to give the place back.
    let mut registry = control.lock();
    control.wiring.mailboxes[usize::from(key.shard)]
        .command(command)
        .map_err(|_full| ControlError::no_room("the shard has too many set-ups waiting"))?;
    let Reservation { port, stream, .. } = held.reservation.take().expect("as above");
    let from = &*caller.words();
    if publisher {
        limited!(INFO, session = %key, stream = &*stream, from, "publisher set up");
    } else {
        limited!(DEBUG, session = %key, stream = &*stream, from, "viewer set up");
    }
    let id = control.session_id();
    let live = LiveSession {
        url: id.clone(),
        etag: etag.clone(),
        remote_ufrag,
        restarts: 0,
        restarting: false,
        video_mid,
        caller,
        channels: Vec::new(),
        stream,
        publisher,
        created_at: unix_now(),
        port: port.number,
        given: port,
        negotiation: Some(Box::new(negotiation)),
        template,
        codecs,
        payloads,
        audio,
        video,
        history: History::default(),
    };
    registry.register(key, live);
    control.end_those_to_be_ended(&mut registry);
    registry.sessions.insert(id.clone(), key);
    Ok(Placement { id, answer, etag })
}

/// `bytes` bytes from the operating system's generator, in hexadecimal.
pub(super) fn random_hex(bytes: usize) -> String {
    let mut random = [0; 32];
    let random = &mut random[..bytes.min(32)];
    getrandom::fill(random).expect("the operating system gives random bytes");
    random.iter().map(|byte| format!("{byte:02x}")).collect()
}
