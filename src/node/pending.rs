//! TCP connections that have not said yet which session they are for: a bounded number in all and
//! from one source. Where there are as many as there may be, the least deserving goes: the one that
//! has been silent longest, of the source that has most.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::id::Source;
use crate::telemetry::TcpRefusal;

/// Those there are, oldest first, by source.
#[derive(Debug)]
pub(super) struct Pending {
    sources: Mutex<HashMap<Source, VecDeque<Waiting>>>,
    most: usize,
    most_per_source: usize,
}

/// One of them.
#[derive(Debug)]
struct Waiting {
    number: u64,
    /// Tells it why it must go.
    leave: oneshot::Sender<TcpRefusal>,
}

/// A connection's place, which is free again when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    pending: Arc<Pending>,
    source: Source,
    number: u64,
    /// Comes when it must go for another.
    pub must_leave: oneshot::Receiver<TcpRefusal>,
}

impl Pending {
    pub fn new(most: usize, most_per_source: usize) -> Arc<Pending> {
        Arc::new(Pending { sources: Mutex::default(), most, most_per_source })
    }

    /// A place for connection `number`, the newest, which is from `ip`; another may have to go.
    pub fn admit(self: &Arc<Pending>, number: u64, ip: IpAddr) -> Place {
        let source = Source::of(ip);
        let (leave, must_leave) = oneshot::channel();
        let mut sources = self.lock();
        if sources.get(&source).map_or(0, VecDeque::len) >= self.most_per_source {
            send_away(&mut sources, source, TcpRefusal::TooManyFromSource);
        }
        if sources.values().map(VecDeque::len).sum::<usize>() >= self.most {
            let busiest = sources.iter().max_by_key(|(_, waiting)| waiting.len());
            if let Some(busiest) = busiest.map(|(source, _)| *source) {
                send_away(&mut sources, busiest, TcpRefusal::TooManyNewcomers);
            }
        }
        sources.entry(source).or_default().push_back(Waiting { number, leave });
        Place { pending: self.clone(), source, number, must_leave }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Source, VecDeque<Waiting>>> {
        // Nothing under the lock panics half-way.
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The oldest of a source goes.
fn send_away(sources: &mut HashMap<Source, VecDeque<Waiting>>, source: Source, why: TcpRefusal) {
    let Some(waiting) = sources.get_mut(&source) else { return };
    if let Some(oldest) = waiting.pop_front() {
        // It may have just been heard, and does not listen any more.
        let _ = oldest.leave.send(why);
    }
    if waiting.is_empty() {
        sources.remove(&source);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut sources = self.pending.lock();
        let Some(waiting) = sources.get_mut(&self.source) else { return };
        waiting.retain(|waiting| waiting.number != self.number);
        if waiting.is_empty() {
            sources.remove(&self.source);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(place: &mut Place) -> Option<TcpRefusal> {
        place.must_leave.try_recv().ok()
    }

    #[test]
    fn the_oldest_of_the_source_with_most_goes_first() {
        let pending = Pending::new(6, 4);
        let [busy, other, third] = [1, 2, 3].map(|last| IpAddr::from([192, 0, 2, last]));
        let mut numbers = 0..;
        let mut admit = |ip| pending.admit(numbers.next().expect("there is no end"), ip);
        let mut of_busy: Vec<Place> = (0..5).map(|_| admit(busy)).collect();
        assert_eq!(left(&mut of_busy[0]), Some(TcpRefusal::TooManyFromSource), "it had its share");
        assert!(of_busy[1..].iter_mut().all(|place| left(place).is_none()));
        let mut of_other = [admit(other), admit(other)];
        assert_eq!(left(&mut of_busy[1]), None, "there is room for six");
        let mut newcomer = admit(third);
        assert_eq!(left(&mut of_busy[1]), Some(TcpRefusal::TooManyNewcomers));
        assert!(left(&mut newcomer).is_none() && of_other.iter_mut().all(|p| left(p).is_none()));
        // One that has ended leaves its place to the next.
        drop(of_busy.pop());
        let mut more = admit(third);
        assert!(left(&mut of_busy[2]).is_none() && left(&mut more).is_none());
        drop((of_busy, of_other, newcomer, more));
        assert!(pending.lock().is_empty(), "nobody is remembered");
    }
}
