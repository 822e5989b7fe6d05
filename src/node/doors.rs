//! Where clients come in by TCP: HTTP, and media. Both are shut when another process has taken
//! over, and opened again should that go away. What has come in stays.

use std::io;
use std::net::TcpListener;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::http::{self, Served};
use super::takeover::EarlierDoor;
use super::{listener, vital};
use crate::shard::Wiring;

/// The listeners, and who serves them.
pub(super) struct Doors {
    pub runtime: Handle,
    pub served: Served,
    pub http: TcpListener,
    pub tcp: Option<TcpListener>,
    pub wiring: Arc<Wiring>,
    /// Whom TCP connections may be meant for besides.
    pub earlier: Option<Arc<EarlierDoor>>,
    /// The tasks that accept, while they do.
    pub open: Mutex<Option<Open>>,
}

/// The tasks that accept.
pub(super) struct Open {
    stop_http: Arc<Notify>,
    http: JoinHandle<()>,
    tcp: Option<JoinHandle<()>>,
}

impl Doors {
    /// Accepts from here on.
    ///
    /// # Errors
    /// `EMFILE`.
    pub fn open(&self) -> io::Result<()> {
        let _inside = self.runtime.enter();
        let listener = tokio::net::TcpListener::from_std(self.http.try_clone()?)?;
        let stop_http = Arc::new(Notify::new());
        let serve = http::serve(listener, self.served.clone(), stop_http.clone());
        let tcp = self.tcp.as_ref().map(|tcp| {
            let listener = tokio::net::TcpListener::from_std(tcp.try_clone()?)?;
            let accept = listener::accept(listener, self.wiring.clone(), self.earlier.clone());
            io::Result::Ok(vital::spawn_vital_on(&self.runtime, "accepting TCP", accept))
        });
        let tcp = tcp.transpose()?;
        *self.lock() = Some(Open { stop_http, http: self.runtime.spawn(serve), tcp });
        Ok(())
    }

    /// Accepts no longer. Requests under way are answered, and event streams go on.
    pub fn shut(&self) -> Option<JoinHandle<()>> {
        let open = self.lock().take()?;
        open.stop_http.notify_one();
        if let Some(tcp) = open.tcp {
            tcp.abort();
            // It ends as it was told to.
            let _aborted = self.runtime.block_on(tcp);
        }
        Some(open.http)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Open>> {
        // Nothing under the lock panics half-way.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
