//! A Redis of the test's own (Debian: `redis-server`). Without it tests say so and pass, unless
//! `MONOPORT_REQUIRE_REDIS=1`.

use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};

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
        match redis.run() {
            Ok(()) => Some(redis),
            Err(error) => {
                let required = std::env::var("MONOPORT_REQUIRE_REDIS").is_ok_and(|v| v == "1");
                assert!(!required, "MONOPORT_REQUIRE_REDIS=1, and no redis-server: {error}");
                eprintln!("clusters are not tested: no redis-server: {error}");
                None
            }
        }
    }

    /// `kill -9`, and with it all it knew.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("it is our child");
            child.wait().expect("it is our child");
        }
    }

    /// Starts it again, with nothing in it.
    pub fn start_again(&mut self) {
        self.run().expect("it ran before");
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("redis://{}:6379", self.address)
    }

    /// What it answers to a command.
    pub fn ask<T: redis::FromRedisValue>(&self, command: &[&str]) -> T {
        let client = redis::Client::open(self.url()).expect("a URL");
        let mut connection = None;
        eventually("it listens", || {
            connection = client.get_connection().ok();
            connection.is_some()
        });
        let mut connection = connection.expect("it listens");
        let mut asked = redis::cmd(command[0]);
        command[1..].iter().for_each(|word| {
            asked.arg(*word);
        });
        asked.query(&mut connection).expect("it answers")
    }

    fn run(&mut self) -> std::io::Result<()> {
        let child = Command::new("redis-server")
            .args(["--bind", &self.address.to_string(), "--port", "6379"])
            .args(["--save", "", "--appendonly", "no"])
            .current_dir(std::env::temp_dir())
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
