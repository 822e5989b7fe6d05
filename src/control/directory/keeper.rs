//! Keeps the directory told: which streams this node has, and that it is alive.
//!
//! One task speaks to the directory. What it could not say it says again; after a time without
//! contact, or when the directory has forgotten this node, it re-asserts all it has. Requests never
//! wait for it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tokio::time::MissedTickBehavior;

use super::{Beat, Claim, Claimed, HttpAt, Misfit, Unreachable};
use crate::control::registry::Registry;
use crate::control::{Control, OnConflict};
use crate::limits::{
    DIRECTORY_BATCH, DIRECTORY_BEAT, DIRECTORY_LEASE, DIRECTORY_PEERS, DIRECTORY_REASSERT,
    MOVED_ON_GRACE,
};
use crate::shard::EndReason;
use crate::telemetry::limited;

/// What is still to be told of streams, and what was told.
#[derive(Default)]
pub(in crate::control) struct Kept {
    /// Streams that have gone live here since they were claimed last.
    to_claim: HashSet<Arc<str>>,
    /// Claims to give back.
    to_release: Vec<(Arc<str>, u64)>,
    /// The epoch of each claim.
    claimed: HashMap<Arc<str>, u64>,
    /// Streams that other nodes have taken, and when.
    moved: Vec<(Instant, Arc<str>)>,
}

impl Kept {
    /// A publisher of `stream` has gone live here.
    pub fn went_live(&mut self, stream: &Arc<str>) {
        self.to_claim.insert(stream.clone());
    }

    /// The epoch of the claim of `stream`; 0 where there is none.
    pub fn epoch(&self, stream: &str) -> u64 {
        self.claimed.get(stream).copied().unwrap_or(0)
    }

    /// Whether there is something to tell.
    pub fn has_changed(&self) -> bool {
        !self.to_claim.is_empty() || !self.to_release.is_empty()
    }

    /// `stream` has no publisher here any more.
    pub fn went_away(&mut self, stream: &Arc<str>) {
        self.to_claim.remove(stream);
        if let Some(epoch) = self.claimed.remove(stream) {
            self.to_release.push((stream.clone(), epoch));
        }
    }
}

impl Control {
    /// Keeps the directory told until the server stops. `http` is where others reach this node.
    pub async fn keep_directory(self: Arc<Control>, http: HttpAt) {
        let mut beats = tokio::time::interval(DIRECTORY_BEAT);
        let mut looks = tokio::time::interval(DIRECTORY_PEERS);
        for interval in [&mut beats, &mut looks] {
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        // The first beat is one of a node that has nothing to re-assert.
        let mut in_contact = true;
        let mut first = true;
        let mut asserted = Instant::now();
        loop {
            tokio::select! {
                // A process that was taken over has a later one to beat for both.
                _ = beats.tick(), if !self.has_passed_on() => {
                    let beat = self.beat(http).await;
                    let forgotten = matches!(beat, Ok((false, _))) && !first;
                    // A claim that nobody renews is garbage one day.
                    let is_due = asserted.elapsed() >= DIRECTORY_REASSERT;
                    if beat.is_ok() && (forgotten || is_due || !in_contact) {
                        self.reassert().await;
                        asserted = Instant::now();
                    } else if let Ok((_, displaced)) = &beat {
                        self.displaced(displaced).await;
                    }
                    self.directory_meter.answers(beat.is_ok(), &self.member.node);
                    (in_contact, first) = (beat.is_ok(), false);
                    self.end_those_left_behind();
                }
                _ = looks.tick(), if self.member.has_others && !first => {
                    if self.has_passed_on() {
                        // What the directory forgets of the earlier process's claims, the later
                        // one does not know.
                        self.reassert().await;
                    } else if in_contact {
                        let _unreachable = self.look_at_nodes().await;
                    }
                }
                () = self.directory_changed.notified() => {}
                // Looks again whether there is a later process.
                () = tokio::time::sleep(DIRECTORY_LEASE) => {}
            }
            if in_contact {
                in_contact = self.tell_directory().await.is_ok();
            }
        }
    }

    /// Renews the lease; says whether the directory knew this node, and which of its streams others
    /// have claimed.
    async fn beat(&self, http: HttpAt) -> Result<(bool, Vec<Arc<str>>), Unreachable> {
        let left = self.left.lock().await;
        if *left {
            return Err(Unreachable);
        }
        let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let clock_ms = clock.as_millis() as u64;
        let beat = self.member.directory.beat(self.record(http), clock_ms).await;
        // One that does not answer refuses nobody.
        let beat = beat.inspect_err(|_| _ = self.directory_meter.refused(None))?;
        match beat {
            Beat::Renewed { known, number, displaced, .. } => {
                self.others.set_number(number);
                self.directory_meter.refused(None);
                Ok((known, displaced))
            }
            Beat::Refused(misfit) => {
                let why = misfit.to_string();
                if misfit == Misfit::NameTaken && self.node_number() == 0 {
                    self.follow_predecessor(http).await;
                }
                if self.directory_meter.refused(Some(misfit)) {
                    let node = &*self.member.node;
                    tracing::warn!(
                        node,
                        why,
                        "this node is none of the cluster's, and serves alone until that changes"
                    );
                }
                Err(Unreachable)
            }
        }
    }

    /// The process that has the name in the directory, and had this very address, is gone: its
    /// number is this one's already, so that others can take streams from here meanwhile.
    async fn follow_predecessor(&self, http: HttpAt) {
        let _unreachable = self.look_at_nodes().await;
        let nodes = self.nodes();
        let mut same = nodes.iter().filter(|node| node.name == self.member.node);
        if let Some(before) = same.find(|node| node.http == http) {
            self.others.set_number(before.number);
        }
    }

    /// Gives the lease back, unless another process of this node goes on with it: nobody waits
    /// for it to run out.
    pub async fn leave_directory(&self) {
        if self.has_passed_on() || !self.member.has_others {
            return;
        }
        *self.left.lock().await = true;
        // A directory that is away lets it run out.
        let _unreachable = self.member.directory.leave().await;
    }

    /// Claims what has gone live and gives back what has gone away.
    async fn tell_directory(&self) -> Result<(), Unreachable> {
        loop {
            let (claims, releases) = {
                let mut registry = self.lock();
                let kept = &mut registry.kept;
                let claims = kept.to_claim.iter().take(DIRECTORY_BATCH);
                // With the greatest epoch that was seen, which the new one must exceed.
                let claims: Vec<(Arc<str>, u64)> =
                    claims.map(|name| (name.clone(), kept.epoch(name))).collect();
                for (name, _) in &claims {
                    kept.to_claim.remove(name);
                }
                let count = kept.to_release.len().min(DIRECTORY_BATCH);
                let releases: Vec<(Arc<str>, u64)> = kept.to_release.drain(..count).collect();
                (claims, releases)
            };
            if claims.is_empty() && releases.is_empty() {
                return Ok(());
            }
            // A stream that came back before its release was told has the later epoch by then, and
            // a release takes away only the very claim it names.
            let told = self.tell(&claims, &releases).await;
            if told.is_err() {
                let mut registry = self.lock();
                registry.kept.to_release.extend(releases);
                registry.kept.to_claim.extend(claims.into_iter().map(|(name, _)| name));
                return told;
            }
        }
    }

    async fn tell(
        &self,
        claims: &[(Arc<str>, u64)],
        releases: &[(Arc<str>, u64)],
    ) -> Result<(), Unreachable> {
        if !releases.is_empty() {
            self.member.directory.release(releases.to_vec()).await?;
        }
        if !claims.is_empty() {
            let how = match self.on_conflict {
                OnConflict::Replace => Claim::New,
                OnConflict::Refuse => Claim::IfFree,
            };
            let claimed = self.member.directory.claim(how, claims.to_vec()).await?;
            self.took(claims, claimed);
        }
        Ok(())
    }

    /// Claims again all there is, without taking away what others have claimed since.
    async fn reassert(&self) {
        let all: Vec<(Arc<str>, u64)> = {
            let registry = self.lock();
            registry.kept.claimed.iter().map(|(name, epoch)| (name.clone(), *epoch)).collect()
        };
        self.keep(&all).await;
    }

    /// Others have claimed these streams since.
    async fn displaced(&self, streams: &[Arc<str>]) {
        let mut ours = Vec::new();
        for stream in streams {
            let epoch = self.lock().kept.claimed.get(stream).copied();
            match (epoch, self.earlier()) {
                (Some(epoch), _) => ours.push((stream.clone(), epoch)),
                // The process that was taken over has the same name there.
                (None, Some(earlier)) => earlier.went_live(stream),
                (None, None) => {}
            }
        }
        self.keep(&ours).await;
    }

    /// Streams that other nodes have taken should have come from there by links. Where one has not,
    /// its viewers are told to reconnect; those that have been told and have not done so are ended,
    /// and find that node when they come again.
    fn end_those_left_behind(&self) {
        let due = |(at, _): &mut (Instant, Arc<str>)| at.elapsed() >= MOVED_ON_GRACE;
        let moved: Vec<_> = self.lock().kept.moved.extract_if(.., due).collect();
        for (_, stream) in moved {
            if !self.tells_to_reconnect(&stream) {
                self.end_left_behind(&stream);
            }
        }
    }

    /// Tells viewers of a stream to reconnect, unless they have been, or it has come.
    fn tells_to_reconnect(&self, name: &Arc<str>) -> bool {
        let mut registry = self.lock();
        let Some(stream) = registry.streams.get_mut(name) else { return false };
        let tells = stream.is_awaited() && !stream.moved_on;
        if tells {
            stream.moved_on = true;
            registry.kept.moved.push((Instant::now(), name.clone()));
        }
        tells
    }

    /// A stream is another node's: its viewers get it from there by a link, or go there.
    fn moves(&self, registry: &mut Registry, name: &Arc<str>) {
        let takes_more = !registry.stopping && !registry.passed_on;
        let has_links = takes_more && registry.ports.for_link().is_some();
        let Some(stream) = registry.streams.get_mut(name) else { return };
        stream.moved_on = !has_links;
        registry.kept.moved.push((Instant::now(), name.clone()));
    }

    /// Claims streams again, without taking away what others have claimed since.
    async fn keep(&self, streams: &[(Arc<str>, u64)]) {
        for some in streams.chunks(DIRECTORY_BATCH) {
            // What fails now is repeated at the next contact.
            let Ok(claimed) = self.member.directory.claim(Claim::Keep, some.to_vec()).await else {
                return;
            };
            self.directory_meter.kept(some.len());
            self.took(some, claimed);
        }
    }

    /// Takes in what became of claims. A stream that another node holds is that node's: its
    /// publisher came later, and ours is ended.
    fn took(&self, claims: &[(Arc<str>, u64)], claimed: Vec<Claimed>) {
        let mut registry = self.lock();
        for ((name, _), claimed) in claims.iter().zip(claimed) {
            let publisher = registry.streams.get(name).and_then(|stream| stream.publisher());
            match claimed {
                Claimed::Mine { epoch, displaced } => {
                    if let Some(other) = displaced {
                        limited!(INFO, "`{name}` is published here now, no longer on `{other}`");
                    }
                    match publisher {
                        Some(_) => registry.kept.claimed.insert(name.clone(), epoch),
                        // It has left meanwhile.
                        None => {
                            registry.kept.to_release.push((name.clone(), epoch));
                            None
                        }
                    };
                }
                Claimed::Held { owner, .. } => {
                    limited!(INFO, "`{name}` is published on `{owner}` now");
                    registry.kept.claimed.remove(name);
                    self.directory_meter.lost();
                    registry.ending.extend(publisher.map(|key| (key, EndReason::Replaced)));
                    // Without a secret nobody would take them there.
                    if !self.member.secrets().is_empty() {
                        self.moves(&mut registry, name);
                    }
                }
            }
        }
        self.end_those_to_be_ended(&mut registry);
    }
}
