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
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::time::Duration;

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use tokio::signal::unix::{SignalKind, signal};

pub use fetch::{Api, Trouble};

use crate::limits::TOP_QUEUE;
use model::{Fetched, Flow, Model, Wants};

/// How long a key or an answer waits to be seen.
const GLANCE: Duration = Duration::from_millis(50);

/// What to look at, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the server's HTTP is.
    pub url: String,
    /// The server's admin token, where it has one.
    pub token: Option<String>,
    /// Print one snapshot instead of taking the screen.
    pub once: bool,
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
        let text = snapshot(&api)?;
        io::stdout().write_all(text.as_bytes())?;
        return Ok(());
    }
    let ended = end_on_signal()?;
    let (wants, wanted) = sync_channel(TOP_QUEUE);
    let (told, fetched) = sync_channel(TOP_QUEUE);
    let mut model = Model::new(api.base());
    std::thread::spawn(move || poll::poll(&api, &wanted, &told));
    // From here on a panic gives the terminal back before it speaks.
    let mut terminal = ratatui::try_init()?;
    let shown = show(&mut terminal, &mut model, &fetched, &wants, &ended);
    ratatui::try_restore()?;
    Ok(shown?)
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

/// Set when the process is told to end: the terminal must be given back first.
fn end_on_signal() -> io::Result<Arc<AtomicBool>> {
    let ended = Arc::new(AtomicBool::new(false));
    let seen = ended.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut terminate, mut hang_up) = {
        let _inside = runtime.enter();
        (signal(SignalKind::terminate())?, signal(SignalKind::hangup())?)
    };
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = hang_up.recv() => {}
            }
        });
        seen.store(true, Ordering::Relaxed);
    });
    Ok(ended)
}
