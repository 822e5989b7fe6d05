//! `monoport`: parse the options; run the node until a signal, or say what it would need.

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;
use std::sync::mpsc;

use monoport::check::{self, Host, Verdict};
use monoport::config::{
    Args, CheckArgs, Cli, Command, CommandLine, Config, HelpArgs, Origin, PortsArgs, ReadError,
    TopArgs, printed,
};
use monoport::cpu;
use monoport::limits::LOG_FLUSH;
use monoport::manual;
use monoport::node::{ClusterPlan, Node, PortPlan};
use monoport::telemetry::{flush_log, start_logging};
use monoport::top::{self, Options};

/// Per-thread heaps, and a free on another thread costs little: media crosses shards.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let CommandLine { cli, origin } = match CommandLine::read(std::env::args_os()) {
        Ok(read) => read,
        Err(ReadError::CommandLine(error)) => error.exit(),
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "monoport: {error}");
            return ExitCode::FAILURE;
        }
    };
    let Cli { command, print_config, args } = cli;
    let done = match command {
        None if print_config => show_config(args, &origin).map(|()| ExitCode::SUCCESS),
        None => run(args, origin).map(|()| ExitCode::SUCCESS),
        Some(Command::Ports(ports)) => print_ports(*ports).map(|()| ExitCode::SUCCESS),
        Some(Command::Check(check)) => print_check(*check),
        Some(Command::Top(args)) => watch(args).map(|()| ExitCode::SUCCESS),
        Some(Command::Help(args)) => show_manual(args).map(|()| ExitCode::SUCCESS),
    };
    let code = done.unwrap_or_else(|error| {
        // Nobody may read it, or its disk be full: the exit code says it too.
        let _ = writeln!(std::io::stderr(), "monoport: {error}");
        ExitCode::FAILURE
    });
    flush_log();
    code
}

fn log(args: &Args) -> Result<(), Box<dyn Error>> {
    start_logging(&args.log, args.log_format)
        .map_err(|error| format!("--log {:?} is no filter of log lines: {error}", args.log).into())
}

fn run(args: Args, origin: Origin) -> Result<(), Box<dyn Error>> {
    log(&args)?;
    if let Err(error) = cpu::disable_huge_pages() {
        tracing::debug!("huge pages stay: {error}");
    }
    let mut config = Config::new(args, &cpu::available_cores())?.read_from(origin);
    config.find_takeover_socket();
    let node = Node::start(&config)?;
    let ready = || tell(format!("{}ready; Ctrl-C ends it\n", node.banner()));
    node.serve_until_drained(config.drain_timeout, ready)?;
    tell("stopping\n".to_owned());
    node.stop();
    Ok(())
}

/// Options that can't be served are not shown as if they could.
fn show_config(args: Args, origin: &Origin) -> Result<(), Box<dyn Error>> {
    Config::new(args, &cpu::available_cores())?;
    say(&printed(origin));
    Ok(())
}

/// As [`say`], and no longer than a moment: a pipe that nobody reads must not hold up the server,
/// nor its end.
fn tell(text: String) {
    let (told, done) = mpsc::channel();
    let writing = std::thread::Builder::new().spawn(move || {
        say(&text);
        let _ = told.send(());
    });
    if writing.is_ok() {
        let _ = done.recv_timeout(LOG_FLUSH);
    }
}

/// Writes to standard output. Whoever reads it may have gone, as a pager has that was quit: no
/// reason for the server to stop, or to stop without telling its peers.
fn say(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

fn print_ports(PortsArgs { json, nft, nodes, args }: PortsArgs) -> Result<(), Box<dyn Error>> {
    log(&args)?;
    let config = Config::new(args, &cpu::available_cores())?;
    if nodes {
        let plan = ClusterPlan::ask(&config)?;
        say(&match (json, nft) {
            (true, _) => plan.json(),
            (_, true) => plan.nft(),
            _ => plan.text(),
        });
        return Ok(());
    }
    let plan = PortPlan::new(&config)?;
    let text = match (json, nft) {
        (true, _) => plan.json(),
        (_, true) => plan.nft(),
        _ => plan.text(),
    };
    say(&text);
    Ok(())
}

fn watch(args: TopArgs) -> Result<(), Box<dyn Error>> {
    let TopArgs { url, admin_token, admin_token_file, once, cluster } = args;
    let token = match admin_token_file {
        None => admin_token,
        Some(path) => {
            let text = std::fs::read_to_string(&path)
                .map_err(|error| format!("--admin-token-file {}: {error}", path.display()))?;
            Some(text.lines().next().unwrap_or_default().trim().to_owned())
        }
    };
    Ok(top::run(&Options { url, token, once, cluster })?)
}

fn show_manual(HelpArgs { topic }: HelpArgs) -> Result<(), Box<dyn Error>> {
    say(&match topic {
        Some(name) => manual::topic(&name)?.page(),
        None => manual::contents(),
    });
    Ok(())
}

fn print_check(CheckArgs { peer, from, args }: CheckArgs) -> Result<ExitCode, Box<dyn Error>> {
    let config = Config::new(args, &cpu::available_cores())?;
    let findings = match (peer, from) {
        (Some(url), Some(node)) => check::check_from(&url, &node, config.access.admin.as_deref()),
        (Some(url), None) => check::check_peer(&url, config.access.publish.as_deref()),
        (None, _) => check::check(&config, &Host::at("/")),
    };
    say(&check::describe(&findings));
    Ok(match check::worst(&findings) {
        Verdict::Fail => ExitCode::FAILURE,
        Verdict::Warn | Verdict::Ok => ExitCode::SUCCESS,
    })
}
