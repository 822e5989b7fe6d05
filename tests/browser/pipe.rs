//! A narrow way for TCP: connections to it go on to the server, from which no more is read than so
//! many bits a second. What the server has for them waits in its own buffers then.

use std::io::{Read, Write, copy};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

/// How often it is looked for connections.
const LOOK: Duration = Duration::from_millis(20);
/// What of the server waits here: the kernel takes twice as much. At 300 kb/s that is a queue of
/// 300 ms.
const BUFFER_BYTES: usize = 6_000;
/// What is read at once.
const PIECE_BYTES: usize = 1_500;
/// So much late, a timer is no narrower way.
const LATE: Duration = Duration::from_millis(10);

/// Carries what comes until it is dropped; connections end with the browser or the server.
pub struct Pipe {
    bits_per_s: Arc<AtomicU64>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Pipe {
    /// Listens at `port`, on every address, for connections to the server at `server`.
    pub fn start(port: u16, server: SocketAddr, bits_per_s: u64) -> Pipe {
        let listener = TcpListener::bind(("0.0.0.0", port)).expect("the pipe's port");
        listener.set_nonblocking(true).expect("a listener that does not wait");
        let bits_per_s = Arc::new(AtomicU64::new(bits_per_s));
        let ended = Arc::new(AtomicBool::new(false));
        let (speed, end) = (Arc::clone(&bits_per_s), Arc::clone(&ended));
        let thread = std::thread::spawn(move || {
            while !end.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((client, _)) => carry(client, server, &speed),
                    Err(_) => std::thread::sleep(LOOK),
                }
            }
        });
        Pipe { bits_per_s, ended, thread: Some(thread) }
    }

    /// It carries so many bits a second from here on.
    pub fn set_speed(&self, bits_per_s: u64) {
        self.bits_per_s.store(bits_per_s, Ordering::Relaxed);
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It has already said why, if it failed.
            let _ = thread.join();
        }
    }
}

fn carry(client: TcpStream, server: SocketAddr, speed: &Arc<AtomicU64>) {
    client.set_nonblocking(false).expect("a connection that waits");
    client.set_nodelay(true).expect("a connection that sends at once");
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    // Before it connects: it is what the server is told that there is room for.
    socket.set_recv_buffer_size(BUFFER_BYTES).expect("a small buffer");
    socket.connect(&server.into()).expect("the server's TCP port");
    let server = TcpStream::from(socket);
    let both = |stream: &TcpStream| stream.try_clone().expect("the connection, twice");
    let (mut from_client, mut to_server) = (both(&client), both(&server));
    std::thread::spawn(move || copy(&mut from_client, &mut to_server));
    let speed = Arc::clone(speed);
    std::thread::spawn(move || carry_slowly(server, client, &speed));
}

fn carry_slowly(mut server: TcpStream, mut client: TcpStream, speed: &AtomicU64) {
    let mut buffer = [0; PIECE_BYTES];
    let mut free = Instant::now();
    while let Ok(length @ 1..) = server.read(&mut buffer) {
        let takes = length as f64 * 8.0 / speed.load(Ordering::Relaxed) as f64;
        let now = Instant::now();
        free = free.max(now.checked_sub(LATE).unwrap_or(now)) + Duration::from_secs_f64(takes);
        std::thread::sleep(free.saturating_duration_since(now));
        if client.write_all(&buffer[..length]).is_err() {
            return;
        }
    }
}
