//! One TCP connection to the server as an ICE agent has it: datagrams in frames.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};

use monoport::wire::framing::{self, Front};
use socket2::{Domain, Socket, Type};

use super::Server;

/// A connection that never blocks.
pub struct Link {
    stream: TcpStream,
    pub local: SocketAddr,
    pub server: SocketAddr,
    received: Vec<u8>,
    unsent: VecDeque<u8>,
    /// Whether each byte is written by itself.
    pub by_bytes: bool,
    /// Whether nothing is read: everything that comes stays with the kernel.
    pub deaf: bool,
    /// The server has closed it, or it broke.
    pub ended: bool,
}

impl Link {
    /// Connects to the server's TCP port.
    pub fn connect(server: &Server) -> Link {
        Link::to(server_address(server))
    }

    /// Connects to that port of another address.
    pub fn connect_at(server: &Server, ip: IpAddr) -> Link {
        Link::to(SocketAddr::new(ip, server_address(server).port()))
    }

    /// Connects with a receive buffer of `bytes`, so that little is on its way to who does not
    /// read.
    pub fn connect_narrow(server: &Server, bytes: usize) -> Link {
        Link::narrow(server_address(server), Some(bytes))
    }

    /// Connects to an address.
    pub fn to(server: SocketAddr) -> Link {
        Link::narrow(server, None)
    }

    fn narrow(server: SocketAddr, receive_buffer: Option<usize>) -> Link {
        let socket =
            Socket::new(Domain::for_address(server), Type::STREAM, None).expect("a socket");
        if let Some(bytes) = receive_buffer {
            socket.set_recv_buffer_size(bytes).expect("a small buffer is always granted");
        }
        socket.connect(&server.into()).expect("the server listens");
        let stream = TcpStream::from(socket);
        stream.set_nonblocking(true).expect("a socket can be non-blocking");
        stream.set_nodelay(true).expect("frames leave at once");
        Link {
            local: stream.local_addr().expect("it is connected"),
            server,
            stream,
            received: Vec::new(),
            unsent: VecDeque::new(),
            by_bytes: false,
            deaf: false,
            ended: false,
        }
    }

    /// Queues a datagram and writes what the kernel takes.
    pub fn send(&mut self, datagram: &[u8]) {
        let header = framing::header(datagram.len()).expect("a datagram fits a frame");
        self.unsent.extend(header);
        self.unsent.extend(datagram);
        self.flush();
    }

    /// Writes bytes that need be no frame.
    pub fn send_raw(&mut self, bytes: &[u8]) {
        self.unsent.extend(bytes);
        self.flush();
    }

    /// The next datagram that has arrived.
    pub fn receive(&mut self) -> Option<Vec<u8>> {
        self.flush();
        if !self.deaf {
            self.read();
        }
        let Front::Whole(datagram, rest) = framing::front(&self.received, 65_535) else {
            return None;
        };
        let datagram = datagram.to_vec();
        self.received = rest.to_vec();
        Some(datagram)
    }

    /// Whether the server has closed the connection; what it sends is dropped.
    pub fn is_closed(&mut self) -> bool {
        self.read();
        self.received.clear();
        self.ended
    }

    fn read(&mut self) {
        let mut buffer = [0; 16_384];
        while !self.ended {
            match self.stream.read(&mut buffer) {
                Ok(0) => self.ended = true,
                Ok(count) => self.received.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_broken) => self.ended = true,
            }
        }
    }

    fn flush(&mut self) {
        while !self.unsent.is_empty() && !self.ended {
            let (front, _) = self.unsent.as_slices();
            let bytes = if self.by_bytes { &front[..1] } else { front };
            match self.stream.write(bytes) {
                Ok(count) => drop(self.unsent.drain(..count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_broken) => self.ended = true,
            }
        }
    }
}

/// Where clients connect.
pub fn server_address(server: &Server) -> SocketAddr {
    let port = server.node().tcp_port().expect("it was started with --tcp-port");
    SocketAddr::from(([127, 0, 0, 1], port))
}
