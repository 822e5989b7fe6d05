//! Whether the tables of a shard agree with one another, for simulations.

use super::core::Core;

impl Core {
    /// Every session has its peer among the paths and its stream, every ready viewer its place in
    /// the stream and the way its peer is reached by, and nothing is there that is no session's.
    ///
    /// # Errors
    /// What does not agree, in words.
    pub fn audit(&mut self) -> Result<(), String> {
        let occupied: Vec<u32> = self.sessions.occupied().collect();
        let (mut viewers, mut members) = (0, 0);
        for slot in occupied.iter().copied() {
            let Some(entry) = self.sessions.at(slot) else { continue };
            let taken = entry.takes.iter().map(|taking| taking.stream);
            let published = entry.publishes.as_ref().map(|publishing| publishing.stream);
            for stream in published.into_iter().chain(taken) {
                members += 1;
                self.streams.get(stream).ok_or_else(|| format!("slot {slot} is of no stream"))?;
            }
            for taking in &entry.takes {
                let Some(ready) = &taking.ready else { continue };
                viewers += 1;
                let stream = self.streams.get(taking.stream);
                let viewer = stream.and_then(|stream| stream.viewer(ready.position));
                let viewer = viewer.filter(|viewer| viewer.slot == slot);
                let viewer =
                    viewer.ok_or_else(|| format!("viewer {slot} is not where it believes"))?;
                let to = self.paths.destination(slot);
                if to != Some(viewer.to) {
                    let sent = viewer.to;
                    return Err(format!("viewer {slot} is sent to {sent:?}, not to {to:?}"));
                }
            }
        }
        let (sessions, links) = (occupied.len(), self.links.len());
        let peers = self.paths.audit()?;
        let population = self.streams.audit()?;
        if (sessions, sessions) != (peers, self.sessions.len())
            || (members + links, viewers) != (population.members, population.viewers)
        {
            let counted = self.sessions.len();
            return Err(format!(
                "{sessions} sessions ({counted} counted, {members} roles), {peers} peers, \
                 {links} links, \
                 {viewers} viewers; streams have {population:?}"
            ));
        }
        Ok(())
    }
}
