//! The way to a node for others: it passes links' datagrams on, and loses some of them. Clients
//! find the way past it.

use crate::dice::Dice;
use monoport::wire::link::FIRST_BYTE;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

pub struct Hop {
    pub address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    to: OnceLock<SocketAddr>,
    is_over: AtomicBool,
    lost: AtomicU64,
}

impl Hop {
    /// One at this `address`, which is no node's, that loses the part `loss`.
    ///
    /// # Errors
    /// Those of binding a UDP socket.
    pub fn new(address: Ipv4Addr, loss: f64) -> io::Result<Hop> {
        let socket = UdpSocket::bind((address, 0))?;
        let address = socket.local_addr()?;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        let state = Arc::new(State::default());
        let of_thread = state.clone();
        thread::spawn(move || of_thread.run(&socket, loss));
        Ok(Hop { address, state })
    }

    /// Where it leads: said once, when the node is there.
    pub fn leads_to(&self, node: SocketAddr) {
        let _ = self.state.to.set(node);
    }

    pub fn lost(&self) -> u64 {
        self.state.lost.load(Ordering::Relaxed)
    }
}

impl Drop for Hop {
    fn drop(&mut self) {
        self.state.is_over.store(true, Ordering::Relaxed);
    }
}

impl State {
    fn run(&self, socket: &UdpSocket, loss: f64) {
        let (mut buffer, mut dice) = ([0; 2_048], Dice::new(loss, 7));
        while !self.is_over.load(Ordering::Relaxed) {
            let Ok((length, _from)) = socket.recv_from(&mut buffer) else { continue };
            let Some(to) = self.to.get().filter(|_| buffer[0] == FIRST_BYTE) else { continue };
            if dice.lose() {
                self.lost.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            // One that is gone takes nothing.
            let _ = socket.send_to(&buffer[..length], to);
        }
    }
}
