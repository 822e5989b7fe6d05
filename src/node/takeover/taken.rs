//! The later process: it takes the sockets of the running one, and knows that one while it lasts.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::TakeoverError;
use super::letters::{self, Answered, Asked, Welcome, receive, send};
use crate::config::{Config, SteerBy};
use crate::control::{Control, EarlierLeft, EarlierProcess};
use crate::limits::TAKEOVER_LETTER;
use crate::net::{PacketSocket, Steering, StrayWriter, UdpSocket};
use crate::node::announce::Reachable;
use crate::node::bind::{Bound, socket_options};
use crate::paths::NewConnection;
use crate::shard::{Command, Earlier, TakeoverStep, Wiring};
use crate::telemetry::limited;
use crate::wire::ufrag::UfragKey;

/// What was taken, until the earlier process has let go of it.
pub(in crate::node) struct Taking {
    door: EarlierDoor,
    welcome: Welcome,
    /// The sockets of each shard.
    sockets: Vec<Vec<UdpSocket>>,
    /// The listeners.
    pub http: TcpListener,
    pub tcp: Option<TcpListener>,
    maps: Vec<OwnedFd>,
    ways: Vec<PacketSocket>,
}

/// The way to the earlier process.
pub(in crate::node) struct EarlierDoor {
    connection: PacketSocket,
    pid: i32,
    version: Box<str>,
    /// Of its ufrags, and of those of the processes before it.
    keys: Vec<UfragKey>,
    /// Sessions and streams.
    left: Mutex<(usize, usize)>,
    gone: AtomicBool,
}

impl Taking {
    /// Asks the running server for its place.
    ///
    /// # Errors
    /// [`TakeoverError`]; the running server goes on as before.
    pub fn begin(config: &Config) -> Result<Taking, TakeoverError> {
        let path = config.takeover_socket.as_ref().ok_or(TakeoverError::NoPath)?;
        let connection = PacketSocket::connect(path)
            .map_err(|error| TakeoverError::Nobody { path: path.clone(), error })?;
        Taking::receive(connection, config).map_err(|error| match error {
            TakeoverError::Io(error) if error.kind() == io::ErrorKind::WouldBlock => {
                TakeoverError::Refused(format!(
                    "it has not answered for {} s; another takeover may be under way",
                    TAKEOVER_LETTER.as_secs()
                ))
            }
            other => other,
        })
    }

    fn receive(connection: PacketSocket, config: &Config) -> Result<Taking, TakeoverError> {
        connection.set_patience(Some(TAKEOVER_LETTER))?;
        let (oldest, newest) = (letters::OLDEST, letters::NEWEST);
        let version = env!("CARGO_PKG_VERSION").into();
        send(&connection, &Asked::Hello { oldest, newest, version }, &[])?;
        let welcome = match receive(&connection)?.0 {
            Answered::Welcome(welcome) => *welcome,
            Answered::Refused { why } => return Err(TakeoverError::Refused(why)),
            other => return Err(TakeoverError::Broken(format!("it answered {other:?}"))),
        };
        let checked = fits(config, &welcome);
        if let Err(why) = &checked {
            let _heard = send(&connection, &Asked::Abort { why: why.to_string() }, &[]);
        }
        checked?;
        let mut descriptors = Vec::new();
        while descriptors.len() < welcome.descriptors() {
            match receive(&connection)? {
                (Answered::Descriptors, some) if !some.is_empty() => descriptors.extend(some),
                _ => return Err(TakeoverError::Broken("descriptors are missing".into())),
            }
        }
        let keys = welcome.keys.iter().filter_map(|key| letters::unhex(key));
        let door = EarlierDoor {
            pid: connection.peer()?.pid,
            version: welcome.version.clone().into(),
            keys: keys.map(UfragKey::from_bytes).collect(),
            left: Mutex::new((welcome.sessions, 0)),
            gone: AtomicBool::new(false),
            connection,
        };
        let taking = Taking::sort(door, welcome, descriptors, config)?;
        let at = taking.http.local_addr()?;
        let is_same = config.http == at || (config.http.port() == 0 && config.http.ip() == at.ip());
        let checked = same("--http", is_same, config.http, at).and_then(|()| {
            let bound = taking.sockets.iter().flatten().next().map(|s| s.local_addr().ip());
            let fits = bound.is_none_or(|ip| config.bind_candidates().contains(&ip));
            let ours = config.bind.map_or("(not given)".to_owned(), |ip| ip.to_string());
            same("--bind", fits, ours, bound.map(|ip| ip.to_string()).unwrap_or_default())
        });
        let checked = checked.and_then(|()| match (&taking.tcp, config.tcp_port) {
            (Some(tcp), Some(port)) if port != 0 => {
                let at = tcp.local_addr()?.port();
                same("--tcp-port", at == port, port, at)
            }
            _ => Ok(()),
        });
        if let Err(why) = &checked {
            let _heard = send(&taking.door.connection, &Asked::Abort { why: why.to_string() }, &[]);
        }
        checked.map(|()| taking)
    }

    /// Which descriptor is what.
    fn sort(
        door: EarlierDoor,
        welcome: Welcome,
        descriptors: Vec<OwnedFd>,
        config: &Config,
    ) -> Result<Taking, TakeoverError> {
        let options = socket_options(config);
        let mut rest = descriptors.into_iter();
        let mut next = || rest.next().ok_or_else(|| TakeoverError::Broken("one is missing".into()));
        let mut sockets: Vec<Vec<UdpSocket>> = (0..welcome.shards).map(|_| Vec::new()).collect();
        for _ in &welcome.ports {
            for shard in &mut sockets {
                shard.push(UdpSocket::adopt(next()?, &options)?);
            }
        }
        let http = TcpListener::from(next()?);
        http.set_nonblocking(true)?;
        let tcp = if welcome.tcp { Some(TcpListener::from(next()?)) } else { None };
        let maps = (0..welcome.maps).map(|_| next()).collect::<Result<_, _>>()?;
        let ways = (0..welcome.shards).map(|_| next().map(PacketSocket::from));
        let ways = ways.collect::<Result<_, _>>()?;
        Ok(Taking { door, welcome, sockets, http, tcp, maps, ways })
    }

    /// The UDP sockets, as if they had been bound here.
    pub fn bound(&mut self, config: &Config) -> Bound {
        let sockets = std::mem::take(&mut self.sockets);
        let ip = sockets.iter().flatten().next().map(|socket| socket.local_addr().ip());
        let ip = ip.unwrap_or_else(|| config.bind_candidates()[0]);
        let sockets = if self.welcome.ports.is_empty() { Vec::new() } else { sockets };
        Bound { ip, sockets }
    }

    /// The steering that is on the sockets, if there is one.
    pub fn steering(&mut self) -> io::Result<Option<Steering>> {
        let maps = std::mem::take(&mut self.maps);
        if maps.is_empty() { Ok(None) } else { Steering::adopt(maps).map(Some) }
    }

    /// Which node the earlier process is, where it says.
    pub fn incarnation(&self) -> Option<u64> {
        self.welcome.incarnation
    }

    /// The addresses that answers name: those that STUN servers told, who can't be asked through
    /// sockets that the earlier process reads.
    pub fn reachable(&self) -> Vec<Reachable> {
        self.welcome.reachable.clone()
    }

    /// Of each shard, its way to the earlier process.
    pub fn earlier(&mut self) -> Vec<Earlier> {
        let ways = std::mem::take(&mut self.ways).into_iter();
        let keys = &self.door.keys;
        ways.map(|way| Earlier { keys: keys.clone(), strays: StrayWriter::new(way) }).collect()
    }

    /// Shards read the sockets, and the earlier process is to let go of them. When this returns,
    /// the place is this process's.
    ///
    /// # Errors
    /// [`TakeoverError`]; the earlier process goes on as before.
    pub fn commit(
        self,
        control: &Arc<Control>,
        wiring: &Arc<Wiring>,
    ) -> Result<Arc<EarlierDoor>, TakeoverError> {
        let door = Arc::new(self.door);
        send(&door.connection, &Asked::Ready, &[])?;
        match receive(&door.connection)?.0 {
            Answered::Yours => {}
            Answered::Refused { why } => return Err(TakeoverError::Refused(why)),
            other => return Err(TakeoverError::Broken(format!("it answered {other:?}"))),
        }
        tracing::info!(
            "took over from process {} (monoport {}): {} sessions stay there until they end",
            door.pid,
            door.version,
            self.welcome.sessions
        );
        door.connection.set_patience(None)?;
        control.set_earlier(Some(door.clone()));
        let (follower, control, wiring) = (door.clone(), control.clone(), wiring.clone());
        std::thread::Builder::new()
            .name("earlier".into())
            .spawn(move || follower.follow(&control, &wiring))?;
        Ok(door)
    }
}

impl EarlierDoor {
    /// Hears how many sessions the earlier process has left, until it has gone.
    fn follow(&self, control: &Control, wiring: &Wiring) {
        loop {
            match receive(&self.connection) {
                Ok((Answered::Left { sessions, streams }, _)) => {
                    let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
                    *left = (sessions, streams);
                }
                Ok(_) | Err(TakeoverError::Broken(_)) => {}
                Err(_gone) => break,
            }
        }
        self.gone.store(true, Ordering::SeqCst);
        control.set_earlier(None);
        for mailbox in &wiring.mailboxes {
            // One that is too busy finds out by every datagram that nobody takes.
            let _ = mailbox.command(Command::Takeover(TakeoverStep::Alone));
        }
        tracing::info!("process {}, which was taken over, has gone", self.pid);
    }

    /// Whether the earlier process has gone.
    pub fn has_gone(&self) -> bool {
        self.gone.load(Ordering::SeqCst)
    }

    /// The keys of its ufrags, and of those before it.
    pub fn keys(&self) -> impl Iterator<Item = &UfragKey> {
        self.keys.iter()
    }

    /// A connection to its HTTP.
    ///
    /// # Errors
    /// That it has gone, does not read, or that there are no descriptors.
    pub fn http(&self) -> io::Result<UnixStream> {
        let (ours, theirs) = UnixStream::pair()?;
        send(&self.connection, &Asked::Http, &[theirs.as_fd()])?;
        Ok(ours)
    }

    /// Hands a TCP connection over, to one of its sessions.
    ///
    /// # Errors
    /// As [`EarlierDoor::http`].
    pub fn connect(&self, connection: NewConnection) -> io::Result<()> {
        let NewConnection { stream, local, remote, received } = connection;
        let local = SocketAddr::new(local, 0);
        send(&self.connection, &Asked::Connection { local, remote, received }, &[stream.as_fd()])
    }

    /// Whether a third process has taken over from this one.
    pub fn is_followed(&self, followed: bool) {
        // Where it has gone there is nobody to know.
        let _ = send(&self.connection, &Asked::Followed { followed }, &[]);
    }

    /// The server is to stop, all of it.
    pub fn stop(&self) {
        // As above.
        let _ = send(&self.connection, &Asked::Stop, &[]);
    }

    /// Lets go of it.
    pub fn end(&self) {
        self.connection.end();
    }
}

impl EarlierProcess for EarlierDoor {
    fn went_live(&self, stream: &str) {
        if let Err(error) = send(&self.connection, &Asked::Live { stream: stream.into() }, &[])
            && !self.has_gone()
        {
            limited!(WARN, "process {} was not told that `{stream}` is here: {error}", self.pid);
        }
    }

    fn left(&self) -> EarlierLeft {
        let (sessions, streams) = *self.left.lock().unwrap_or_else(PoisonError::into_inner);
        EarlierLeft { pid: self.pid, version: self.version.clone(), sessions, streams }
    }
}

/// Whether this process may take over with its options.
fn fits(config: &Config, welcome: &Welcome) -> Result<(), TakeoverError> {
    same("--shards", config.shards() == welcome.shards, config.shards(), welcome.shards)?;
    let range = config.udp.range.map(|range| (range.first, range.last));
    let words = |range: Option<(u16, u16)>| match range {
        Some((first, last)) => format!("{first}-{last}"),
        None => "(not given)".into(),
    };
    same("--port-range", range == welcome.range, words(range), words(welcome.range))?;
    let list = |ports: &[u16]| ports.iter().map(u16::to_string).collect::<Vec<_>>().join(",");
    let has = |port: &u16| *port == 0 || welcome.ports.contains(port);
    let (ours, theirs) = (list(&config.udp.mux), list(&welcome.ports));
    same("--udp-port", config.udp.mux.iter().all(has), ours, theirs)?;
    let tcp = |there| if there { "one" } else { "none (--no-tcp)" };
    let has_tcp = config.tcp_port.is_some();
    same("--tcp-port", has_tcp == welcome.tcp, tcp(has_tcp), tcp(welcome.tcp))?;
    let drops = welcome.maps > 1;
    same("--kernel-drop", config.kernel_drop == drops, config.kernel_drop, drops)?;
    let by_hash = config.steering == SteerBy::Hash;
    same("--steering", !(by_hash && welcome.maps > 0), "hash", "ebpf")
}

fn same(
    option: &'static str,
    is_same: bool,
    ours: impl ToString,
    theirs: impl ToString,
) -> Result<(), TakeoverError> {
    let (ours, theirs) = (ours.to_string(), theirs.to_string());
    if is_same { Ok(()) } else { Err(TakeoverError::Differs { option, ours, theirs }) }
}
