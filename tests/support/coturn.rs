//! A TURN server of the test's own: coturn (Debian: `coturn`). Without it tests say so and pass,
//! unless `MONOPORT_REQUIRE_TURNSERVER=1`.

use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// What coturn and the server share.
pub const SECRET: &str = "a shared secret";

/// coturn on loopback; killed when dropped.
pub struct Coturn {
    child: Child,
    pub address: SocketAddr,
    /// Where it keeps its files.
    folder: PathBuf,
}

impl Coturn {
    /// Starts one; `None` where there is none.
    pub fn start() -> Option<Coturn> {
        let port = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
        let address = port.expect("a free port");
        let folder = std::env::temp_dir().join(format!("monoport-turn-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder of the test's own");
        let started = Command::new("turnserver")
            .args(["-n", "--use-auth-secret", "--realm=monoport", "--no-tls", "--no-dtls"])
            .args(["--no-cli", "--allow-loopback-peers", "--no-tcp", "--log-file=stdout"])
            .args(["--listening-ip=127.0.0.1", "--relay-ip=127.0.0.1", "--relay-threads=1"])
            .arg(format!("--static-auth-secret={SECRET}"))
            .arg(format!("--listening-port={}", address.port()))
            .arg(format!("--pidfile={}", folder.join("pid").display()))
            .arg(format!("--userdb={}", folder.join("users").display()))
            .current_dir(&folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        match started {
            Ok(child) => Some(Coturn { child, address, folder }),
            Err(error) => {
                let required = std::env::var("MONOPORT_REQUIRE_TURNSERVER").is_ok_and(|v| v == "1");
                assert!(!required, "MONOPORT_REQUIRE_TURNSERVER=1, and no turnserver: {error}");
                eprintln!("relaying is not tested: no turnserver (Debian: coturn): {error}");
                None
            }
        }
    }
}

impl Drop for Coturn {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
