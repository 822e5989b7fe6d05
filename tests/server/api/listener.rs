//! A client of the event stream.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use serde_json::Value;

use crate::support::{PATIENCE, Server};

/// One connection to `/api/v1/events`.
pub struct Listener {
    stream: BufReader<TcpStream>,
    /// The status line of the answer.
    pub status: u16,
}

impl Listener {
    pub fn open(server: &Server) -> Listener {
        let address = server.node().http_address();
        let mut stream = TcpStream::connect(address).expect("HTTP listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        let request = format!("GET /api/v1/events HTTP/1.1\r\nHost: {address}\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("it takes a request");
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        stream.read_line(&mut line).expect("an answer");
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
        Listener { stream, status: status.expect("a status line") }
    }

    /// The next event: its name and its data. Chunk sizes and comments are passed over.
    pub fn next(&mut self) -> (String, Value) {
        let mut name = String::new();
        loop {
            let mut line = String::new();
            let read = self.stream.read_line(&mut line).expect("an event within the time allowed");
            assert!(read > 0, "the server closed the stream");
            if let Some(event) = line.strip_prefix("event: ") {
                event.trim().clone_into(&mut name);
            } else if let Some(data) = line.strip_prefix("data: ") {
                return (name, serde_json::from_str(data).expect("data is JSON"));
            }
        }
    }

    /// The next event of a name.
    pub fn next_of(&mut self, wanted: &str) -> Value {
        loop {
            let (name, data) = self.next();
            if name == wanted {
                return data;
            }
        }
    }
}
