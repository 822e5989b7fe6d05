//! How busy the shards are, told to those who place sessions.

use std::sync::Arc;

use crate::control::Control;
use crate::cpu::ThreadLoad;
use crate::limits::LOAD_INTERVAL;
use crate::shard::Spawned;

/// Takes the shards' measures out of their handles, to be read by [`watch`].
pub(super) fn measures(shards: &mut [Spawned]) -> Vec<Option<ThreadLoad>> {
    shards.iter_mut().map(|shard| shard.load.take()).collect()
}

/// Measures each shard now and then, for ever.
pub(super) async fn watch(mut shards: Vec<Option<ThreadLoad>>, control: Arc<Control>) {
    let mut ticks = tokio::time::interval(LOAD_INTERVAL);
    let mut permille = Vec::with_capacity(shards.len());
    loop {
        ticks.tick().await;
        permille.clear();
        permille.extend(shards.iter_mut().map(|shard| shard.as_mut()?.permille()));
        control.observe_load(&permille);
    }
}
