//! WHIP and WHEP from the client's side: post an offer, read the answer, delete the session.

use crate::args::RunArgs;
use crate::media::Format;
use crate::sdp::{Answer, AnswerError};
use crate::served::Server;
use monoport::access::Roots;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// A server that takes longer to answer an offer has failed.
const TIMEOUT: Duration = Duration::from_secs(10);
/// One that does not take a connection by then (two SYNs a second apart) is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// What stands for the stream's name in URLs and tokens.
const NAME: &str = "{name}";

/// A client of one server; cheap to clone, and clones share connections.
#[derive(Clone)]
pub struct Client {
    agent: ureq::Agent,
    publish: Endpoint,
    /// Those that viewers take in turn: one at least.
    view: Vec<Endpoint>,
    /// What offers ask for.
    audio: bool,
    video: Option<Format>,
}

/// Where one side posts its offers: templates, in which [`NAME`] stands for the stream's.
#[derive(Clone)]
struct Endpoint {
    url: Arc<str>,
    token: Option<String>,
}

/// An accepted offer.
pub struct Accepted {
    pub answer: Answer,
    pub session: Session,
}

/// What ends a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    url: String,
    token: Option<String>,
}

impl Session {
    /// Where its HTTP is, where that is an address.
    #[must_use]
    pub fn host(&self) -> Option<IpAddr> {
        host_of(&self.url)
    }
}

/// The host of a URL, where it is an address.
fn host_of(url: &str) -> Option<IpAddr> {
    let authority = url.split("://").nth(1)?.split('/').next()?;
    let (host, _port) = authority.rsplit_once(':').unwrap_or((authority, ""));
    host.trim_matches(['[', ']']).parse().ok()
}

/// Who makes an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    Publisher,
    /// By its place among the stream's.
    Viewer(usize),
}

/// Why an offer led to no session.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error("{0}")]
    Http(#[from] Box<ureq::Error>),
    /// The same may be taken later: nobody publishes the stream yet, or there is no room now.
    #[error("status {0}: {1}")]
    Later(u16, String),
    #[error("status {0}: {1}")]
    Status(u16, String),
    #[error("{0}")]
    Answer(#[from] AnswerError),
    #[error("the answer came without a Location")]
    NoLocation,
}

impl Client {
    /// A client for the server that `args` name.
    #[must_use]
    pub fn new(args: &RunArgs) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(TIMEOUT))
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .tls_config(Roots::default().tls())
            .max_idle_connections(32)
            .max_idle_connections_per_host(32)
            .build();
        let base = args.url.as_deref().unwrap_or_default().trim_end_matches('/');
        let endpoint = |url: Option<&String>, token: &Option<String>, kind| Endpoint {
            url: url.cloned().unwrap_or_else(|| format!("{base}/{kind}/{NAME}")).into(),
            token: token.clone().or_else(|| args.token.clone()),
        };
        let view = |url| endpoint(url, &args.whep_token, "whep");
        let mut views: Vec<Endpoint> = args.whep_url.iter().map(|url| view(Some(url))).collect();
        if views.is_empty() {
            views.push(view(None));
        }
        Self {
            agent: config.into(),
            publish: endpoint(args.whip_url.as_ref(), &args.whip_token, "whip"),
            view: views,
            audio: args.has_audio(),
            video: args.video(),
        }
    }

    /// Posts `offer` for the stream `name`, as its publisher or as viewer `place` of it.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn offer(&self, who: Who, name: &str, offer: &str) -> Result<Accepted, Refused> {
        let publish = who == Who::Publisher;
        let Endpoint { url, token } = self.endpoint(who);
        let url = url.replace(NAME, name);
        let token = token.as_ref().map(|token| token.replace(NAME, name));
        let mut request = self.agent.post(&url).header("Content-Type", "application/sdp");
        if let Some(token) = &token {
            request = request.header("Authorization", &format!("Bearer {token}"));
        }
        let mut response = request.send(offer).map_err(Box::new)?;
        let location = response.headers().get("location").and_then(|v| v.to_str().ok());
        let location = location.map(|location| absolute(&url, location));
        let body = response.body_mut().read_to_string().map_err(Box::new)?;
        let said = || body.chars().take(200).collect();
        match response.status().as_u16() {
            200 | 201 => {}
            // Servers differ in how they say that nobody publishes yet.
            status @ (404 | 409) if !publish => return Err(Refused::Later(status, said())),
            status @ (429 | 503) => return Err(Refused::Later(status, said())),
            status => return Err(Refused::Status(status, said())),
        }
        let session = Session { url: location.ok_or(Refused::NoLocation)?, token };
        match Answer::scan(&body, self.audio, self.video) {
            Ok(answer) => Ok(Accepted { answer, session }),
            Err(error) => {
                self.delete(&session);
                Err(error.into())
            }
        }
    }

    fn endpoint(&self, who: Who) -> &Endpoint {
        match who {
            Who::Publisher => &self.publish,
            Who::Viewer(place) => &self.view[place % self.view.len()],
        }
    }

    /// The server that serves who was sent to `media`: the one asked, unless another of those that
    /// are asked is there, to which the session was passed on.
    #[must_use]
    pub fn server(&self, who: Who, media: IpAddr) -> Server {
        let asked = self.endpoint(who);
        let there =
            [asked].into_iter().chain(&self.view).find(|at| host_of(&at.url) == Some(media));
        Server { address: media, url: there.unwrap_or(asked).url.clone() }
    }

    /// Ends a session. A failure is of no interest at the end of a run: the server reaps it.
    pub fn delete(&self, session: &Session) -> bool {
        let mut request = self.agent.delete(&session.url);
        if let Some(token) = &session.token {
            request = request.header("Authorization", &format!("Bearer {token}"));
        }
        let Ok(mut response) = request.call() else { return false };
        // A connection is of further use only when its answer was read to the end.
        let _ = response.body_mut().read_to_vec();
        response.status().is_success()
    }
}

/// A `Location` as a URL: the server may give a path, from its root or from where it was asked
/// (RFC 9110 §10.2.2).
fn absolute(asked: &str, location: &str) -> String {
    if location.contains("://") {
        return location.to_owned();
    }
    let host = asked.find("://").map_or(0, |at| at + 3);
    let origin = asked[host..].find('/').map_or(asked.len(), |at| host + at);
    if location.starts_with('/') {
        return format!("{}{location}", &asked[..origin]);
    }
    let path = asked.split(['?', '#']).next().unwrap_or_default();
    let folder = path.rfind('/').filter(|at| *at >= origin).unwrap_or(origin);
    format!("{}/{location}", &asked[..folder])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::TcpListener;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        args: RunArgs,
    }

    fn client(options: &[&str]) -> Client {
        let words = ["run"].iter().chain(options);
        Client::new(&<Cli as clap::Parser>::parse_from(words).args)
    }

    #[test]
    fn servers_at_one_address_are_told_apart_by_where_viewers_post() {
        let urls = ["http://127.0.0.1:1/a", "http://127.0.0.1:2/b", "http://127.0.0.2:1/c"];
        let options = ["--whip-url", urls[0], "--whep-url", urls[0], "--whep-url", urls[1]];
        let client = client(&[&options[..], &["--whep-url", urls[2]]].concat());
        let url = |place, host| client.server(Who::Viewer(place), [127, 0, 0, host].into()).url;
        assert_eq!([url(0, 1), url(1, 1), url(2, 2)].each_ref().map(|url| &**url), urls);
        // Passed on from one to another; and to one that nobody asks.
        assert_eq!([&*url(1, 2), &*url(1, 9)], [urls[2], urls[1]]);
    }

    #[test]
    fn a_relative_location_is_joined_to_where_it_was_asked() {
        let asked = "http://127.0.0.1:8080/base/whip/s?x=/y";
        assert_eq!(absolute(asked, "/session/1"), "http://127.0.0.1:8080/session/1");
        assert_eq!(absolute(asked, "s/1"), "http://127.0.0.1:8080/base/whip/s/1");
        assert_eq!(absolute(asked, "http://a/b"), "http://a/b");
        assert_eq!(absolute("http://127.0.0.1:8080", "1"), "http://127.0.0.1:8080/1");
    }

    /// Answers one request with `status` and returns its first line and its token.
    fn asked(status: u16, ask: impl FnOnce(String) -> Result<Accepted, Refused>) -> Asked {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let base = format!("http://{}", listener.local_addr().expect("it is bound"));
        let server = std::thread::spawn(move || {
            let mut stream = BufReader::new(listener.accept().expect("one comes").0);
            let (mut head, mut line) = (Vec::new(), String::new());
            while stream.read_line(&mut line).is_ok_and(|read| read > 2) {
                head.push(std::mem::take(&mut line).trim().to_owned());
            }
            let named = |name: &str| {
                let of = |line: &String| line.to_lowercase().starts_with(name);
                head.iter().find(|line| of(line)).cloned().unwrap_or_default()
            };
            let length = named("content-length").split(' ').nth(1).and_then(|n| n.parse().ok());
            let mut body = vec![0; length.unwrap_or(0)];
            stream.read_exact(&mut body).expect("the offer comes whole");
            let answer = format!("HTTP/1.1 {status} x\r\nContent-Length: 0\r\n\r\n");
            stream.get_mut().write_all(answer.as_bytes()).expect("it listens");
            (head[0].clone(), named("authorization"))
        });
        let refused = ask(base).err().expect("there is no SDP in it");
        let (line, token) = server.join().expect("the server does not fail");
        Asked { line, token, refused }
    }

    struct Asked {
        line: String,
        token: String,
        refused: Refused,
    }

    #[test]
    fn any_server_is_asked_by_its_urls_and_tokens() {
        let Asked { line, token, .. } = asked(400, |base| {
            let whip = format!("{base}/live/{{name}}/whip?v=1");
            let options = ["--whip-url", &whip, "--whep-url", "http://a/", "--token", "t-{name}"];
            client(&options).offer(Who::Publisher, "load-0", "v=0")
        });
        assert_eq!(line, "POST /live/load-0/whip?v=1 HTTP/1.1");
        assert!(token.ends_with("Bearer t-load-0"), "{token}");
        let Asked { line, token, .. } = asked(400, |base| {
            let options = ["--url", &base, "--token", "a", "--whep-token", "b-{name}"];
            client(&options).offer(Who::Viewer(0), "x", "v=0")
        });
        assert_eq!(line, "POST /whep/x HTTP/1.1");
        assert!(token.ends_with("Bearer b-x"), "{token}");
    }

    /// A server that answers any number of requests on each of its connections, with a few words;
    /// the count is of the connections it was asked for.
    fn answering(listener: TcpListener, connections: Arc<AtomicUsize>) {
        for stream in listener.incoming() {
            connections.fetch_add(1, Ordering::Relaxed);
            let mut stream = BufReader::new(stream.expect("one comes"));
            let (mut line, mut length) = (String::new(), 0);
            while stream.read_line(&mut line).is_ok_and(|read| read > 0) {
                let head = std::mem::take(&mut line).to_lowercase();
                if let Some(value) = head.strip_prefix("content-length:") {
                    length = value.trim().parse().expect("a length");
                }
                if head.trim().is_empty() {
                    let mut body = vec![0; std::mem::take(&mut length)];
                    stream.read_exact(&mut body).expect("the offer comes whole");
                    let answer = "HTTP/1.1 400 x\r\nContent-Length: 4\r\n\r\nno!\n";
                    stream.get_mut().write_all(answer.as_bytes()).expect("it listens");
                }
            }
        }
    }

    #[test]
    fn offers_and_ends_of_sessions_share_a_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let base = format!("http://{}", listener.local_addr().expect("it is bound"));
        let connections = Arc::new(AtomicUsize::new(0));
        let count = connections.clone();
        std::thread::spawn(move || answering(listener, count));
        let client = client(&["--url", &base]);
        for _ in 0..3 {
            let refused =
                client.offer(Who::Publisher, "x", "v=0").err().expect("a server that refuses");
            assert!(matches!(refused, Refused::Status(400, _)), "{refused}");
            let session = Session { url: format!("{base}/session"), token: None };
            assert!(!client.delete(&session), "it refuses that, too");
        }
        assert_eq!(connections.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn viewers_of_a_stream_take_the_nodes_in_turn() {
        let options = ["--whip-url", "http://o/", "--whep-url", "http://a/", "--whep-url"];
        let client = client(&[&options[..], &["http://b/"]].concat());
        let urls: Vec<&str> = client.view.iter().map(|endpoint| &*endpoint.url).collect();
        assert_eq!(urls, ["http://a/", "http://b/"]);
        for place in 0..4 {
            let Asked { line, .. } = asked(400, |base| {
                let nodes = [format!("{base}/a"), format!("{base}/b")];
                let options = ["--whip-url", "http://o/", "--whep-url", &nodes[0], "--whep-url"];
                let options = [&options[..], &[&nodes[1]]].concat();
                self::client(&options).offer(Who::Viewer(place), "x", "v=0")
            });
            assert_eq!(line, format!("POST /{} HTTP/1.1", ["a", "b"][place % 2]));
        }
    }

    #[test]
    fn what_may_be_taken_later_is_told_from_what_is_refused() {
        for (status, publish, later) in [
            (404, false, true),
            (409, false, true),
            (503, false, true),
            (503, true, true),
            (404, true, false),
            (409, true, false),
            (401, false, false),
            (400, true, false),
        ] {
            let Asked { refused, .. } = asked(status, |base| {
                let who = if publish { Who::Publisher } else { Who::Viewer(0) };
                client(&["--url", &base]).offer(who, "x", "v=0")
            });
            assert_eq!(matches!(refused, Refused::Later(..)), later, "{status} {publish}");
        }
    }
}
