//! A Redis of the test's own (Debian: `redis-server`). Without it tests say so and pass, unless
//! `MONOPORT_REQUIRE_REDIS=1`.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{eventually, loopback_of_its_own};

/// `redis-server` on loopback, which keeps nothing; killed when dropped.
pub struct Redis {
    child: Option<Child>,
    /// Its own, so that its port is nobody's: one of 127.0.0.1 may be taken by a client of another
    /// test just then.
    address: Ipv4Addr,
}

impl Redis {
    /// Starts one; `None` where there is none.
    pub fn start() -> Option<Redis> {
        let mut redis = Redis { child: None, address: loopback_of_its_own() };
        match redis.run(&[]) {
            Ok(()) => Some(redis),
            Err(error) => {
                let required = std::env::var("MONOPORT_REQUIRE_REDIS").is_ok_and(|v| v == "1");
                assert!(!required, "MONOPORT_REQUIRE_REDIS=1, and no redis-server: {error}");
                eprintln!("clusters are not tested: no redis-server: {error}");
                None
            }
        }
    }

    /// Another one, which has what `master` has.
    pub fn replica_of(master: &Redis) -> Redis {
        let mut redis = Redis { child: None, address: loopback_of_its_own() };
        let (own, masters) = (redis.address.to_string(), master.address.to_string());
        redis
            .run(&["--replicaof", &masters, "6379", "--replica-announce-ip", &own])
            .expect("one runs already");
        redis
    }

    /// `kill -9`, and with it all it knew.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("it is our child");
            child.wait().expect("it is our child");
        }
        let _ = std::fs::remove_dir_all(self.folder());
    }

    fn folder(&self) -> PathBuf {
        std::env::temp_dir().join(format!("monoport-redis-{}", self.address))
    }

    /// Starts it again, with nothing in it.
    pub fn start_again(&mut self) {
        self.run(&[]).expect("it ran before");
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("redis://{}:6379", self.address)
    }

    /// What it answers to a command. One that becomes another's replica, or master, hangs up on who
    /// asks: such a one asks again.
    pub fn ask<T: redis::FromRedisValue>(&self, command: &[&str]) -> T {
        let client = redis::Client::open(self.url()).expect("a URL");
        let mut asked = redis::cmd(command[0]);
        command[1..].iter().for_each(|word| {
            asked.arg(*word);
        });
        let mut answer = None;
        eventually("it answers", || {
            answer = client.get_connection().and_then(|mut to| asked.query(&mut to)).ok();
            answer.is_some()
        });
        answer.expect("it answered")
    }

    fn run(&mut self, more: &[&str]) -> std::io::Result<()> {
        // Of its own: a replica writes down what it is sent, and who starts there reads it.
        std::fs::create_dir_all(self.folder())?;
        let child = Command::new("redis-server")
            .args(["--bind", &self.address.to_string(), "--port", "6379"])
            .args(["--save", "", "--appendonly", "no"])
            .args(more)
            .current_dir(self.folder())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        self.child = Some(child);
        Ok(())
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

/// One Sentinel, which says where the master is and makes a replica one when it is gone.
pub struct Sentinel {
    child: Child,
    address: Ipv4Addr,
    /// It writes what it finds into its configuration.
    file: PathBuf,
}

impl Sentinel {
    /// Starts one that looks after `master`.
    pub fn of(master: &Redis) -> Sentinel {
        let address = loopback_of_its_own();
        let name = format!("monoport-sentinel-{}-{address}", std::process::id());
        let file = std::env::temp_dir().join(name);
        let text = format!(
            "bind {address}\nport 26379\nsentinel announce-ip {address}\n\
             sentinel monitor monoport {} 6379 1\n\
             sentinel down-after-milliseconds monoport 1000\n\
             sentinel failover-timeout monoport 4000\n",
            master.address
        );
        std::fs::write(&file, text).expect("a file of the test's own");
        let child = Command::new("redis-server")
            .arg(&file)
            .arg("--sentinel")
            .current_dir(std::env::temp_dir())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Sentinel { child: child.expect("redis-server runs already"), address, file }
    }

    /// Where nodes ask it.
    pub fn url(&self) -> String {
        format!("redis+sentinel://{}:26379/monoport", self.address)
    }

    /// Where it says the master is.
    pub fn master(&self) -> Option<String> {
        let client = redis::Client::open(format!("redis://{}:26379", self.address));
        let mut connection = client.expect("a URL").get_connection().ok()?;
        let mut asked = redis::cmd("SENTINEL");
        asked.arg("get-master-addr-by-name").arg("monoport");
        let place: (String, String) = asked.query(&mut connection).ok()?;
        Some(place.0)
    }

    /// How many replicas it knows that it could make the master.
    pub fn replicas(&self) -> usize {
        let client = redis::Client::open(format!("redis://{}:26379", self.address));
        let Ok(mut connection) = client.expect("a URL").get_connection() else { return 0 };
        let mut asked = redis::cmd("SENTINEL");
        asked.arg("replicas").arg("monoport");
        let replicas: Vec<redis::Value> = asked.query(&mut connection).unwrap_or_default();
        replicas.len()
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.file);
    }
}

/// A way to a [`Redis`] that can be cut.
pub struct Way {
    address: Ipv4Addr,
    open: Arc<AtomicBool>,
    ended: Arc<AtomicBool>,
    streams: Arc<Mutex<Vec<TcpStream>>>,
}

impl Way {
    /// An open one.
    pub fn to(redis: &Redis) -> Way {
        let address = loopback_of_its_own();
        let listener = TcpListener::bind((address, 6379)).expect("an address of its own");
        listener.set_nonblocking(true).expect("a listener");
        let way = Way {
            address,
            open: Arc::new(AtomicBool::new(true)),
            ended: Arc::default(),
            streams: Arc::default(),
        };
        let (open, ended, streams) = (way.open.clone(), way.ended.clone(), way.streams.clone());
        let target = redis.address;
        std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((from, _)) if open.load(Ordering::Relaxed) => {
                        join(from, target, &streams);
                    }
                    // Who comes while it is cut is turned away.
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        std::thread::sleep(Duration::from_millis(5));
                    }
                    Err(error) => panic!("{error}"),
                }
            }
        });
        way
    }

    pub fn url(&self) -> String {
        format!("redis://{}:6379", self.address)
    }

    pub fn cut(&self) {
        self.open.store(false, Ordering::Relaxed);
        for stream in self.streams.lock().expect("nobody panics with it").drain(..) {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }

    pub fn mend(&self) {
        self.open.store(true, Ordering::Relaxed);
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        self.cut();
    }
}

/// Copies both ways until either end closes.
fn join(from: TcpStream, target: Ipv4Addr, streams: &Mutex<Vec<TcpStream>>) {
    from.set_nonblocking(false).expect("a connection");
    let Ok(to) = TcpStream::connect((target, 6379)) else { return };
    let clone = |stream: &TcpStream| stream.try_clone().expect("a descriptor is left");
    streams.lock().expect("nobody panics with it").extend([clone(&from), clone(&to)]);
    for (mut read, mut write) in [(clone(&from), clone(&to)), (to, from)] {
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut read, &mut write);
            let _ = write.shutdown(std::net::Shutdown::Both);
        });
    }
}
