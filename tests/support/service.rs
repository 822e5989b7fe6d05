//! Another service: takes JSON by POST and answers with a status, as a test has it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use openssl::ssl::SslAcceptor;
use serde_json::Value;

/// A request it was sent.
#[derive(Clone, Debug)]
pub struct Posted {
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Posted {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers.find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// A service on a port of its own; gone when dropped.
pub struct Service {
    scheme: &'static str,
    address: SocketAddr,
    posted: Arc<Mutex<Vec<Posted>>>,
    stopped: Arc<AtomicBool>,
}

impl Service {
    /// Answers each request, on a thread of its own, with the status that `answer` makes of it.
    pub fn start(answer: impl Fn(&Posted) -> u16 + Send + Sync + 'static) -> Service {
        Service::start_with(None, answer)
    }

    /// The same over HTTPS.
    pub fn start_tls(
        tls: SslAcceptor,
        answer: impl Fn(&Posted) -> u16 + Send + Sync + 'static,
    ) -> Service {
        Service::start_with(Some(tls), answer)
    }

    fn start_with(
        tls: Option<SslAcceptor>,
        answer: impl Fn(&Posted) -> u16 + Send + Sync + 'static,
    ) -> Service {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let (posted, stopped) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let scheme = if tls.is_some() { "https" } else { "http" };
        let service = Service { scheme, address, posted, stopped };
        let (posted, stopped) = (service.posted.clone(), service.stopped.clone());
        let answer = Arc::new(answer);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let (answer, posted, tls) = (answer.clone(), posted.clone(), tls.clone());
                std::thread::spawn(move || match tls {
                    None => serve(stream, &*answer, &posted),
                    // Who does not like its certificate goes away.
                    Some(tls) => {
                        let Ok(stream) = tls.accept(stream) else { return };
                        serve(stream, &*answer, &posted);
                    }
                });
            }
        });
        service
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }

    /// All it was sent, in the order in which it came.
    pub fn posted(&self) -> Vec<Posted> {
        self.posted.lock().expect("nobody panics with it").clone()
    }

    pub fn count(&self) -> usize {
        self.posted.lock().expect("nobody panics with it").len()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        let _woken = TcpStream::connect(self.address);
    }
}

/// The requests of one connection, until its client has no more.
fn serve(stream: impl Read + Write, answer: &dyn Fn(&Posted) -> u16, posted: &Mutex<Vec<Posted>>) {
    let mut reader = BufReader::new(stream);
    while let Some(request) = read(&mut reader) {
        posted.lock().expect("nobody panics with it").push(request.clone());
        let status = answer(&request);
        let text = format!("HTTP/1.1 {status} Said\r\nContent-Length: 0\r\n\r\n");
        if reader.get_mut().write_all(text.as_bytes()).is_err() {
            return;
        }
    }
}

fn read(reader: &mut impl BufRead) -> Option<Posted> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line == "\r\n" {
            break;
        }
        lines.push(line.trim_end().to_owned());
    }
    let pair = |line: &String| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_owned(), value.trim().to_owned()))
    };
    let mut request = Posted { headers: lines.iter().filter_map(pair).collect(), body: Vec::new() };
    let length = request.header("content-length").and_then(|length| length.parse().ok());
    request.body.resize(length.unwrap_or(0), 0);
    reader.read_exact(&mut request.body).ok()?;
    Some(request)
}
