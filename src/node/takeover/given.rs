//! The earlier process: it gives its sockets, serves what it has left, and takes its place back
//! should the later process go away before it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::TakeoverError;
use super::forward;
use super::letters::{self, Answered, Asked, Welcome, receive, send};
use crate::control::{Control, EarlierProcess};
use crate::limits::{
    MAX_EARLIER_PROCESSES, MOVED_ON_GRACE, TAKEOVER_DESCRIPTORS, TAKEOVER_LETTER, TAKEOVER_START,
    TAKEOVER_TELL,
};
use crate::net::{PacketSocket, StrayReader, strays};
use crate::node::bind::Opener;
use crate::node::doors::Doors;
use crate::node::listener::hand_over;
use crate::node::supervisor::Supervisor;
use crate::paths::NewConnection;
use crate::shard::{Command, TakeoverStep, Wiring};

/// How this process stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::node) enum Standing {
    /// It serves.
    Serving,
    /// Another one has taken over, and this one has its sessions left.
    Given,
    /// The one that has taken over was taken over itself and has gone: nobody hands this one
    /// anything any more.
    Orphaned,
    /// The one that has taken over was told to stop, and this one with it.
    Stopping,
}

/// What it takes to give one's place.
pub(in crate::node) struct Giver {
    pub path: PathBuf,
    pub control: Arc<Control>,
    pub wiring: Arc<Wiring>,
    pub doors: Arc<Doors>,
    pub opener: Arc<Opener>,
    /// The ports of sessions.
    pub range: Option<(u16, u16)>,
}

/// Listens for somebody who would take over.
pub(in crate::node) struct Given {
    path: PathBuf,
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

struct Shared {
    standing: Mutex<Standing>,
    /// What the thread waits for: the listener, and whom it speaks with.
    waits_for: Mutex<Vec<PacketSocket>>,
    /// The server ends.
    ending: AtomicBool,
}

impl Shared {
    fn set(&self, standing: Standing) {
        *lock(&self.standing) = standing;
    }

    /// The thread waits for `socket`, which is ended at once where the server ends.
    fn wait_for(&self, socket: &PacketSocket) {
        lock(&self.waits_for).extend(socket.try_clone());
        if self.ending.load(Ordering::SeqCst) {
            socket.end();
        }
    }
}

impl Given {
    /// How this process stands.
    pub fn standing(&self) -> Standing {
        *lock(&self.shared.standing)
    }

    /// Listens no longer.
    pub fn end(self) {
        if self.standing() == Standing::Serving {
            let _gone = std::fs::remove_file(&self.path);
        }
        self.shared.ending.store(true, Ordering::SeqCst);
        lock(&self.shared.waits_for).iter().for_each(PacketSocket::end);
        // It panicked, or has nothing more to do.
        let _ended = self.thread.join();
    }
}

impl Giver {
    /// Listens at the path, on a thread of its own.
    ///
    /// # Errors
    /// Those of [`PacketSocket::listen`], and of starting a thread.
    pub fn listen(self) -> io::Result<Given> {
        let listener = PacketSocket::listen(&self.path)?;
        let shared = Arc::new(Shared {
            standing: Mutex::new(Standing::Serving),
            waits_for: Mutex::default(),
            ending: AtomicBool::new(false),
        });
        let (path, seen) = (self.path.clone(), shared.clone());
        let thread = std::thread::Builder::new()
            .name("takeover".into())
            .spawn(move || self.run(listener, &seen))?;
        Ok(Given { path, shared, thread })
    }

    fn run(self, mut listener: PacketSocket, shared: &Shared) {
        loop {
            lock(&shared.waits_for).clear();
            shared.wait_for(&listener);
            let Ok(connection) = listener.accept() else { return };
            shared.wait_for(&connection);
            if let Err(why) = self.give(&connection) {
                tracing::warn!("a takeover did not come about: {why}");
                let _heard = send(&connection, &Answered::Refused { why: why.to_string() }, &[]);
                continue;
            }
            shared.set(Standing::Given);
            let followed = self.stay(&connection, shared);
            if shared.ending.load(Ordering::SeqCst) {
                return;
            }
            if followed {
                tracing::error!("the process that took over has gone: what is left here ends");
                return shared.set(Standing::Orphaned);
            }
            tracing::warn!("the process that took over has gone: this one serves again");
            let told_to_stop = *lock(&shared.standing) == Standing::Stopping;
            if told_to_stop || self.control.is_stopping() {
                // Its sessions go on, and nobody takes over what is about to end.
                return self.take_back();
            }
            shared.set(Standing::Serving);
            // Who sees that this one answers requests again may take over from it at once.
            let again = PacketSocket::listen(&self.path);
            self.take_back();
            match again {
                Ok(again) => listener = again,
                Err(error) => return not_listening(&self.path, &error),
            }
        }
    }

    /// Gives everything to whoever is at the other end.
    fn give(&self, connection: &PacketSocket) -> Result<(), TakeoverError> {
        let refused = |why: String| Err(TakeoverError::Refused(why));
        connection.set_patience(Some(TAKEOVER_LETTER))?;
        // Read before anything is refused: where a message is left unread, the other end is told
        // of a reset connection and not why (unix(7)).
        let asked = receive(connection)?.0;
        let peer = connection.peer()?;
        let own = nix::unistd::getuid().as_raw();
        if peer.uid != own {
            return refused(format!("process {} is of user {}, not of {own}", peer.pid, peer.uid));
        }
        let Asked::Hello { oldest, newest, version } = asked else {
            return Err(TakeoverError::Broken("it did not say hello".into()));
        };
        let protocol = newest.min(letters::NEWEST);
        if protocol < oldest.max(letters::OLDEST) {
            return refused(format!(
                "it speaks versions {oldest} to {newest} of the takeover protocol (monoport \
                 {version}), and this server {} to {}: upgrade by way of a release between the two",
                letters::OLDEST,
                letters::NEWEST
            ));
        }
        if self.control.is_stopping() {
            return refused("it is stopping".into());
        }
        let ports = self.pass(connection, protocol)?;
        connection.set_patience(Some(TAKEOVER_START))?;
        match receive(connection)?.0 {
            Asked::Ready => {}
            Asked::Abort { why } => return Err(TakeoverError::Broken(why)),
            other => return Err(TakeoverError::Broken(format!("it is not ready but {other:?}"))),
        }
        // Of whom it does not know yet the service manager would hear nothing.
        Supervisor::of_process().tell(&format!("MAINPID={}", peer.pid));
        let done = self.rest(&ports).and_then(|()| Ok(send(connection, &Answered::Yours, &[])?));
        if done.is_err() {
            self.take_back();
        } else {
            let (sessions, _streams) = self.control.counts();
            tracing::info!(
                "process {} has taken over (monoport {version}): {sessions} sessions stay here \
                 until they end",
                peer.pid
            );
        }
        done
    }

    /// Says what there is, and passes it on. Returns the mux ports.
    fn pass(&self, connection: &PacketSocket, protocol: u32) -> Result<Vec<u16>, TakeoverError> {
        let earlier = self.doors.earlier.as_ref().filter(|earlier| !earlier.has_gone());
        let mut keys = vec![&self.wiring.ufrag_key];
        keys.extend(earlier.iter().flat_map(|earlier| earlier.keys()));
        if keys.len() > MAX_EARLIER_PROCESSES {
            return Err(TakeoverError::Refused(format!(
                "{MAX_EARLIER_PROCESSES} processes that were taken over have sessions yet: wait \
                 until one has ended"
            )));
        }
        let (ports, sockets) = self.lend()?;
        let mut ways = Vec::new();
        for shard in 0..self.wiring.mailboxes.len() {
            let (theirs, ours) = strays()?;
            let (strays, (done, answer)) = (StrayReader::new(ours), oneshot::channel());
            self.tell(shard, TakeoverStep::Hear { strays, done })?;
            self.wait(answer)??;
            ways.push(theirs);
        }
        let steering = self.wiring.ownership.steering.as_ref();
        let maps = steering.map(crate::net::Steering::maps).unwrap_or_default();
        let welcome = Welcome {
            protocol,
            version: env!("CARGO_PKG_VERSION").into(),
            shards: self.wiring.mailboxes.len(),
            ports: ports.clone(),
            range: self.range,
            tcp: self.doors.tcp.is_some(),
            maps: maps.len(),
            keys: keys.into_iter().map(|key| letters::hex(&key.to_bytes())).collect(),
            reachable: self.opener.reachable(),
            sessions: self.control.counts().0,
            incarnation: Some(self.control.incarnation()),
        };
        send(connection, &Answered::Welcome(Box::new(welcome)), &[])?;
        let mut all: Vec<BorrowedFd<'_>> = sockets.iter().map(AsFd::as_fd).collect();
        all.push(self.doors.http.as_fd());
        all.extend(self.doors.tcp.as_ref().map(AsFd::as_fd));
        all.extend(maps);
        all.extend(ways.iter().map(AsFd::as_fd));
        for some in all.chunks(TAKEOVER_DESCRIPTORS) {
            send(connection, &Answered::Descriptors, some)?;
        }
        Ok(ports)
    }

    /// The mux ports, and of each the sockets of all shards.
    fn lend(&self) -> Result<(Vec<u16>, Vec<OwnedFd>), TakeoverError> {
        let mut shards = Vec::new();
        for shard in 0..self.wiring.mailboxes.len() {
            let (done, answer) = oneshot::channel();
            self.tell(shard, TakeoverStep::Lend { done })?;
            shards.push(self.wait(answer)??);
        }
        let numbers = |lent: &[(u16, OwnedFd)]| lent.iter().map(|(port, _)| *port).collect();
        let ports: Vec<u16> = shards.first().map(|lent| numbers(lent)).unwrap_or_default();
        if shards.iter().any(|lent| numbers(lent) != ports) {
            return Err(TakeoverError::Refused(
                "a port is being opened or closed: try again".into(),
            ));
        }
        let mut shards: Vec<_> = shards.into_iter().map(Vec::into_iter).collect();
        let mut sockets = Vec::new();
        for _ in &ports {
            sockets.extend(shards.iter_mut().filter_map(|lent| Some(lent.next()?.1)));
        }
        Ok((ports, sockets))
    }

    /// Reads and accepts no longer: the later process does.
    fn rest(&self, ports: &[u16]) -> Result<(), TakeoverError> {
        self.control.pass_on(true);
        if self.lend()?.0 != ports {
            // The later process would not read one that was opened meanwhile.
            let why = "a port was opened or closed meanwhile: try again";
            return Err(TakeoverError::Refused(why.into()));
        }
        for shard in 0..self.wiring.mailboxes.len() {
            let (done, answer) = oneshot::channel();
            self.tell(shard, TakeoverStep::Rest { done })?;
            self.wait(answer)?;
        }
        drop(self.doors.shut());
        if let Some(earlier) = &self.doors.earlier {
            earlier.is_followed(true);
        }
        Ok(())
    }

    /// Everything is as it was before the later process came.
    fn take_back(&self) {
        for shard in 0..self.wiring.mailboxes.len() {
            if let Err(error) = self.tell(shard, TakeoverStep::Resume) {
                tracing::error!("shard {shard} does not read again: {error}");
            }
        }
        self.control.pass_on(false);
        // Where they were not shut yet.
        drop(self.doors.shut());
        if let Err(error) = self.doors.open() {
            tracing::error!("HTTP and TCP are not served again: {error}");
        }
        if let Some(earlier) = &self.doors.earlier {
            earlier.is_followed(false);
        }
        Supervisor::of_process().tell(&format!("MAINPID={}", std::process::id()));
    }

    /// Serves what the later process hands over, until that has gone. Whether it was taken over
    /// itself.
    fn stay(&self, connection: &PacketSocket, shared: &Shared) -> bool {
        let mut followed = false;
        let mut told = Instant::now();
        if connection.set_patience(Some(TAKEOVER_TELL)).is_err() {
            return followed;
        }
        loop {
            match receive(connection) {
                Ok((Asked::Followed { followed: now }, _)) => followed = now,
                Ok((Asked::Stop, _)) => shared.set(Standing::Stopping),
                Ok((asked, descriptors)) => self.serve(asked, descriptors.into_iter().next()),
                Err(TakeoverError::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(TakeoverError::Broken(why)) => tracing::warn!("the later process: {why}"),
                Err(_gone) => return followed,
            }
            if told.elapsed() >= TAKEOVER_TELL {
                told = Instant::now();
                let (mut sessions, mut streams) = self.control.counts();
                if let Some(earlier) = self.control.earlier().map(|earlier| earlier.left()) {
                    sessions += earlier.sessions;
                    streams += earlier.streams;
                }
                // A process that does not read is told the next time.
                let _ = send(connection, &Answered::Left { sessions, streams }, &[]);
            }
        }
    }

    fn serve(&self, asked: Asked, descriptor: Option<OwnedFd>) {
        let runtime = &self.doors.runtime;
        match (asked, descriptor) {
            (Asked::Http, Some(stream)) => {
                let app = self.doors.served.app.clone();
                runtime.spawn(forward::serve(stream.into(), app, self.control.clone()));
            }
            (Asked::Connection { local, remote, received }, Some(stream)) => {
                let local = local.ip();
                let connection = NewConnection { stream: stream.into(), local, remote, received };
                let earlier = self.doors.earlier.as_deref();
                if let Err(reason) = hand_over(connection, &self.wiring, earlier) {
                    self.wiring.tcp_refusals.add(reason);
                }
            }
            (Asked::Live { stream }, _) => {
                self.control.moved_on(&stream);
                if let Some(earlier) = &self.doors.earlier {
                    earlier.went_live(&stream);
                }
                let control = self.control.clone();
                runtime.spawn(async move {
                    tokio::time::sleep(MOVED_ON_GRACE).await;
                    control.end_left_behind(&stream);
                });
            }
            _ => {}
        }
    }

    fn tell(&self, shard: usize, step: TakeoverStep) -> io::Result<()> {
        let end = Instant::now() + TAKEOVER_LETTER;
        let mut command = Command::Takeover(step);
        while let Err(refused) = self.wiring.mailboxes[shard].command(command) {
            if Instant::now() >= end {
                return Err(io::Error::other(format!("shard {shard} has too much to do")));
            }
            command = refused;
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    fn wait<T>(&self, answer: oneshot::Receiver<T>) -> io::Result<T> {
        let answer = async { tokio::time::timeout(TAKEOVER_LETTER, answer).await };
        let answer = self.doors.runtime.block_on(answer);
        answer.ok().and_then(Result::ok).ok_or_else(|| io::Error::other("a shard does not answer"))
    }
}

/// Nobody can take over.
pub(in crate::node) fn not_listening(path: &Path, error: &io::Error) {
    let path = path.display();
    tracing::warn!("this server can't be taken over: {path}: {error}; pass --takeover-socket");
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing under a lock panics half-way.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
