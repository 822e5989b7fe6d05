//! SIGHUP: the secrets and the certificate are read again. It never ends the server, and what can't
//! be read leaves things as they are.

use std::io;

use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use super::web::{Changing, rules};
use crate::config::Config;

/// Listens from now on, until the server stops.
pub(super) fn on_hangup(runtime: &Runtime, config: &Config, changing: &Changing) -> io::Result<()> {
    let _inside = runtime.enter();
    let mut hangups = signal(SignalKind::hangup())?;
    let (config, Changing { access, tls, .. }) = (config.clone(), changing.clone());
    runtime.spawn(async move {
        while hangups.recv().await.is_some() {
            match config.access.read_again(config.http) {
                Ok(secrets) => {
                    access.replace(rules(&secrets, config.http));
                    tracing::info!("SIGHUP: tokens and keys were read again");
                }
                Err(error) => tracing::error!("SIGHUP: tokens and keys stay as they are: {error}"),
            }
            match tls.as_ref().map(|tls| tls.read_again()) {
                None => {}
                Some(Ok(())) => tracing::info!("SIGHUP: the certificate was read again"),
                Some(Err(error)) => {
                    tracing::error!("SIGHUP: the certificate stays as it is: {error}");
                }
            }
        }
    });
    Ok(())
}
