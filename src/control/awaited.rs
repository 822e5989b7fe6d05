//! Streams that viewers here wait for, though nobody publishes them here: another node may.

use std::ops::Bound;
use std::sync::Arc;

use super::{Control, Owner, Unreachable};
use crate::limits::{AWAITED_PER_LOOK, DIRECTORY_RESOLVED_FOR};

impl Control {
    /// Those of the next [`AWAITED_PER_LOOK`] streams, by name and after `after`, that viewers here
    /// wait for, and that nobody publishes here and no link brings; and the last one looked at,
    /// where there may be more behind it.
    #[must_use]
    pub fn awaited(&self, after: Option<&Arc<str>>) -> (Vec<Arc<str>>, Option<Arc<str>>) {
        let registry = self.lock();
        let from = after.map_or(Bound::Unbounded, |name| Bound::Excluded(&**name));
        let some = registry.streams.range::<str, _>((from, Bound::Unbounded));
        let (mut awaited, mut looked_at, mut last) = (Vec::new(), 0, None);
        for (name, stream) in some.take(AWAITED_PER_LOOK) {
            // Viewers of one that another node has taken are told to go there.
            if stream.is_awaited() && !stream.moved_on {
                awaited.push(name.clone());
            }
            (looked_at, last) = (looked_at + 1, Some(name));
        }
        (awaited, last.filter(|_| looked_at == AWAITED_PER_LOOK).cloned())
    }

    /// The nodes that have these streams, in the same order; up to a second old.
    ///
    /// # Errors
    /// That the directory does not answer.
    pub async fn owners(&self, streams: Vec<Arc<str>>) -> Result<Vec<Option<Owner>>, Unreachable> {
        self.member.directory.resolve(streams, DIRECTORY_RESOLVED_FOR).await
    }
}
