//! SIGHUP, or a file that has become another: secrets, lists and the certificate are read again. It
//! never ends the server, and what can't be read leaves things as they are.

use std::error::Error;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use super::web::{Changing, rules};
use crate::cluster::Neighbours;
use crate::config::{Access, Config, Hooks, Origin};
use crate::limits::FILE_LOOK;

/// Listens for the signal and looks at the files from now on, until the server stops.
pub(super) fn follow(
    runtime: &Runtime,
    config: &Config,
    changing: &Changing,
    cluster: Option<Arc<Neighbours>>,
) -> io::Result<()> {
    let _inside = runtime.enter();
    let mut hangups = signal(SignalKind::hangup())?;
    let mut reloaded = Reloaded { config: config.clone(), changing: changing.clone(), cluster };
    let mut files = config.files();
    // As they are when they have just been read; what comes between is seen as a change.
    let mut known = Seen::of(&files);
    runtime.spawn(async move {
        let mut before = known.clone();
        loop {
            tokio::select! {
                _ = hangups.recv() => {
                    known = Seen::of(&files);
                    reloaded.read_again("SIGHUP");
                    files = reloaded.config.files();
                    continue;
                }
                () = tokio::time::sleep(FILE_LOOK) => {}
            }
            // A disk may be slow, and an answer must not wait for it.
            let looked = files.clone();
            let Ok(now) = tokio::task::spawn_blocking(move || Seen::of(&looked)).await else {
                continue;
            };
            // Whoever writes a file, or two that go together, has a moment to finish.
            if now != known && now == before {
                // What changes while it is read is seen as a change, too.
                known = now.clone();
                reloaded.read_again("a file has changed");
                files = reloaded.config.files();
            }
            before = now;
        }
    });
    Ok(())
}

/// What tells a file from what it was: its device, inode, size and time of change; nothing for
/// those that are not there.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen(Vec<Option<[i64; 5]>>);

impl Seen {
    fn of(files: &[PathBuf]) -> Seen {
        let each = files.iter().map(|file| {
            let file = std::fs::metadata(file).ok()?;
            let (device, inode, size) = (file.dev() as i64, file.ino() as i64, file.size() as i64);
            Some([device, inode, size, file.mtime(), file.mtime_nsec()])
        });
        Seen(each.collect())
    }
}

/// What is read again.
struct Reloaded {
    config: Config,
    changing: Changing,
    cluster: Option<Arc<Neighbours>>,
}

impl Reloaded {
    fn read_again(&mut self, why: &str) {
        if let Err(error) = self.read_options(why) {
            tracing::error!("{why}: options, tokens, keys and lists stay as they are: {error}");
        }
        match self.changing.tls.as_ref().map(|tls| tls.read_again()) {
            None => {}
            Some(Ok(())) => tracing::info!("{why}: the certificate was read again"),
            Some(Err(error)) => {
                tracing::error!("{why}: the certificate stays as it is: {error}");
            }
        }
    }

    /// All of them or none.
    fn read_options(&mut self, why: &str) -> Result<(), Box<dyn Error>> {
        let http = self.config.http;
        let read = self.config.origin.as_ref().map(Origin::read_again).transpose()?;
        let (secrets, hooks) = match &read {
            Some((args, _)) => (Access::read(&args.access, http)?, Hooks::read(&args.hooks)?),
            None => (self.config.access.read_again(http)?, self.config.hooks.read_again()?),
        };
        let shared = self.config.cluster.read_secrets_again()?;
        let Changing { access, authority, webhooks, .. } = &self.changing;
        access.replace(rules(&secrets, http));
        authority.replace(secrets.auth_url.as_deref(), &hooks.roots);
        webhooks.replace(hooks.url.as_deref(), hooks.secret.as_deref(), &hooks.roots);
        if let Some(cluster) = &self.cluster {
            cluster.replace(shared.keys(), &shared.fingerprints());
        }
        (self.config.access, self.config.hooks) = (secrets, hooks);
        tracing::info!("{why}: tokens, keys and lists were read again");
        if let (Some((_, now)), Some(before)) = (&read, &self.config.origin) {
            let names = before.need_a_restart(now).join(", ");
            if !names.is_empty() {
                tracing::warn!("{why}: what has changed of {names} counts from the next start on");
            }
        }
        Ok(())
    }
}
