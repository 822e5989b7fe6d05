//! How many browsers run side by side: two, each in a test that only wants to see something happen,
//! or one, in a test that measures. Whoever comes first is served first.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// A browser that encodes and decodes takes one core of the smallest machine, which has two.
const PLACES: u32 = 2;

static FLOOR: Mutex<Floor> = Mutex::new(Floor { came: 0, called: 0, free: PLACES });
static CHANGED: Condvar = Condvar::new();

struct Floor {
    /// How many have come, and how many of them have been let in.
    came: u64,
    called: u64,
    free: u32,
}

/// Room for one test until this is dropped.
pub struct Place {
    taken: u32,
}

/// Waits for room beside another test that needs no more.
pub fn shared() -> Place {
    take(1)
}

/// Waits until nobody else is there, and keeps it so.
pub fn alone() -> Place {
    take(PLACES)
}

fn take(places: u32) -> Place {
    let mut floor = lock();
    let number = floor.came;
    floor.came += 1;
    while floor.called != number || floor.free < places {
        floor = CHANGED.wait(floor).unwrap_or_else(PoisonError::into_inner);
    }
    floor.called += 1;
    floor.free -= places;
    CHANGED.notify_all();
    Place { taken: places }
}

impl Drop for Place {
    fn drop(&mut self) {
        lock().free += self.taken;
        CHANGED.notify_all();
    }
}

/// A failed test poisons the lock; the next one may still run.
fn lock() -> MutexGuard<'static, Floor> {
    FLOOR.lock().unwrap_or_else(PoisonError::into_inner)
}
