//! The host's addresses change while the server runs: new answers name those there are.
//!
//! Only where nobody has said what to announce. Sessions there are keep what their answers named;
//! the sockets are bound to every address, so that nothing else need change.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;

use super::announce::{Reachable, at_tcp, of_interfaces};
use super::bind::Opener;
use crate::config::Config;
use crate::control::Control;
use crate::net::AddressWatch;

/// A change comes in steps: an address goes, another one comes, IPv6 waits for its duplicate check.
const SETTLES: Duration = Duration::from_millis(300);

/// Follows the host's addresses until the server stops, where nobody has said what they are.
pub(super) fn follow(
    config: &Config,
    runtime: &Runtime,
    control: &Arc<Control>,
    opener: Arc<Opener>,
    tcp_port: Option<u16>,
) {
    let is_bound = config.bind.is_some_and(|ip| !ip.is_unspecified());
    if config.announce.is_empty() && config.external_ip.is_empty() && !is_bound {
        runtime.spawn(listen(config.clone(), control.clone(), opener, tcp_port));
    }
}

async fn listen(config: Config, control: Arc<Control>, opener: Arc<Opener>, tcp_port: Option<u16>) {
    let watch = match AddressWatch::new() {
        Ok(watch) => watch,
        Err(error) => {
            return tracing::info!(
                "answers go on naming the addresses of the start, whatever becomes of them: {error}"
            );
        }
    };
    loop {
        if let Err(error) = watch.changed().await {
            return tracing::warn!("this host's addresses are followed no longer: {error}");
        }
        tokio::time::sleep(SETTLES).await;
        match of_interfaces(&config) {
            // A network that is gone may come back; nobody is found by what is left.
            Ok(now) if now.iter().all(|one| one.ip.is_loopback()) => {}
            Ok(now) => name(&now, &control, &opener, tcp_port),
            Err(error) => tracing::warn!("answers go on naming what is gone: {error}"),
        }
    }
}

/// New answers name `now`, if that is anything new.
fn name(now: &[Reachable], control: &Control, opener: &Opener, tcp_port: Option<u16>) {
    let Some(before) = opener.announce(now) else { return };
    let tcp = tcp_port.map_or_else(Vec::new, |port| at_tcp(now, port));
    control.announce(|port| now.iter().map(|one| one.at(port)).collect(), tcp);
    let words =
        |all: &[Reachable]| all.iter().map(|one| one.ip.to_string()).collect::<Vec<_>>().join(", ");
    tracing::info!(
        "this host's addresses have changed: new answers name {}, no longer {}",
        words(now),
        words(&before)
    );
}
