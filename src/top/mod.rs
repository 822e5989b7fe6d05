//! `monoport top`: a running server seen from a terminal, over its API.
//!
//! ```text
//! poll (thread) ── GET /api/v1/… ──▶ Fetched ──▶ Model ──▶ draw ──▶ terminal
//!      ▲                                       │ ▲
//!      └───────────────── Wants ───────────────┘ └── keys
//! ```
//!
//! The model changes by what is fetched and by keys alone, and drawing reads it alone: both are
//! tested without a terminal or a server.

mod answers;
mod draw;
mod fetch;
mod figures;
mod model;
mod plain;
mod poll;
mod sheet;

use std::io::{self, IsTerminal, Write};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use ratatui::crossterm::terminal::disable_raw_mode;
use tokio::signal::unix::{SignalKind, signal};

pub use fetch::{Api, Trouble};

use crate::limits::TOP_QUEUE;
use model::{Fetched, Flow, Model, View, Wants};

/// How long a key or an answer waits to be seen.
const GLANCE: Duration = Duration::from_millis(50);

/// How long the screen may take to end once the process is told to.
const GRACE: Duration = Duration::from_millis(500);

/// What to look at, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the server's HTTP is.
    pub url: String,
    /// The server's admin token, where it has one.
    pub token: Option<String>,
    /// Print one snapshot instead of taking the screen.
    pub once: bool,
    /// Begin with the nodes of its cluster, of which alone the snapshot is then.
    pub cluster: bool,
}

/// Why nothing can be shown.
#[derive(Debug, thiserror::Error)]
pub enum TopError {
    /// The server did not answer.
    #[error("{0}")]
    Trouble(#[from] Trouble),
    /// The terminal did not do as it was told.
    #[error("the terminal: {0}")]
    Terminal(#[from] io::Error),
}

/// Shows the server until the user quits; one snapshot when asked for it, or where no terminal is.
///
/// # Errors
/// [`TopError::Trouble`] for a snapshot; on the screen trouble is shown and may pass.
pub fn run(options: &Options) -> Result<(), TopError> {
    let api = Api::new(&options.url, options.token.clone());
    if options.once || !io::stdout().is_terminal() {
        let text =
            if options.cluster { plain::cluster(&api.get("cluster")?) } else { snapshot(&api)? };
        io::stdout().write_all(text.as_bytes())?;
        return Ok(());
    }
    // What ends it may be said by each of three.
    let (say_over, over) = sync_channel(3);
    let ended = Arc::new(AtomicBool::new(false));
    watch_for_the_end(say_over.clone())?;
    let (wants, wanted) = sync_channel(TOP_QUEUE);
    let (told, fetched) = sync_channel(TOP_QUEUE);
    let view = if options.cluster { View::Nodes } else { View::Overview };
    let mut model = Model::new(api.base(), view);
    std::thread::spawn(move || poll::poll(&api, &wanted, &told));
    // From here on a panic gives the terminal back before it speaks.
    let mut terminal = ratatui::try_init()?;
    let seen = ended.clone();
    std::thread::spawn(move || {
        let shown = show(&mut terminal, &mut model, &fetched, &wants, &seen);
        // Nobody waits once the grace is over.
        let _ = say_over.send(Over::Shown(shown));
    });
    let shown = match over.recv() {
        Ok(Over::Shown(shown)) => shown,
        Ok(Over::Told) => {
            ended.store(true, Ordering::Relaxed);
            match over.recv_timeout(GRACE) {
                Ok(Over::Shown(shown)) => shown,
                // It reads from a terminal that is gone (crossterm does so for ever), or writes to
                // one that takes nothing.
                _ => {
                    let _ = disable_raw_mode();
                    return Ok(());
                }
            }
        }
        Err(_) => Err(io::Error::other("the thread that draws has panicked")),
    };
    ratatui::try_restore()?;
    Ok(shown?)
}

/// Why nothing more is to be shown.
enum Over {
    /// The screen has ended, by a key or by a failure.
    Shown(io::Result<()>),
    /// A signal, or the terminal is gone.
    Told,
}

/// Everything that is shown, once, as text.
///
/// # Errors
/// See [`Trouble`].
pub fn snapshot(api: &Api) -> Result<String, Trouble> {
    let (status, ports, shards) = (api.get("status")?, api.get("ports")?, api.get("shards")?);
    let worst = api.get(&format!("sessions?limit={}&order=worst", plain::SESSIONS))?;
    Ok(plain::snapshot(&status, &ports, &shards, &worst))
}

fn show(
    terminal: &mut DefaultTerminal,
    model: &mut Model,
    fetched: &Receiver<Fetched>,
    wants: &SyncSender<Wants>,
    ended: &AtomicBool,
) -> io::Result<()> {
    let mut wanted = Wants::default();
    let mut changed = true;
    loop {
        if ended.load(Ordering::Relaxed) {
            return Ok(());
        }
        if std::mem::take(&mut changed) {
            terminal.draw(|frame| draw::draw(frame, model))?;
        }
        if event::poll(GLANCE)? {
            changed = true;
            match event::read()? {
                Event::Key(key)
                    if key.kind != KeyEventKind::Release && model.press(key) == Flow::Quit =>
                {
                    return Ok(());
                }
                // Another key was carried out; a new size is seen by the next drawing.
                _ => {}
            }
        }
        loop {
            match fetched.try_recv() {
                Ok(fetched) => model.update(fetched),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    return Err(io::Error::other("the thread that asks the server has panicked"));
                }
            }
            changed = true;
        }
        if model.wants() != wanted && wants.try_send(model.wants()).is_ok() {
            wanted = model.wants();
        }
    }
}

/// Says so when the process is told to end, and when its terminal has gone: a hang-up reaches the
/// leader of the session alone, which may be a shell that passes nothing on.
fn watch_for_the_end(over: SyncSender<Over>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut terminate, mut hang_up, mut interrupt) = {
        let _inside = runtime.enter();
        let kinds = [SignalKind::terminate(), SignalKind::hangup(), SignalKind::interrupt()];
        let [terminate, hang_up, interrupt] = kinds.map(signal);
        (terminate?, hang_up?, interrupt?)
    };
    let also_over = over.clone();
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = hang_up.recv() => {}
                _ = interrupt.recv() => {}
            }
        });
        // It may have ended by itself meanwhile.
        let _ = over.send(Over::Told);
    });
    let mut poll = Poll::new()?;
    let descriptor = io::stdout().as_raw_fd();
    poll.registry().register(&mut SourceFd(&descriptor), Token(0), Interest::READABLE)?;
    std::thread::spawn(move || {
        let mut events = Events::with_capacity(1);
        // Keys wake this too, and are left to who draws.
        while !events.iter().any(mio::event::Event::is_read_closed) {
            match poll.poll(&mut events, None) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return,
                _ => {}
            }
        }
        let _ = also_over.send(Over::Told);
    });
    Ok(())
}
