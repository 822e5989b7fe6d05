//! `monoport`: parse the options; run the node until a signal, or say what it would need.

use std::error::Error;
use std::process::ExitCode;

use clap::Parser;
use monoport::check::{self, Host, Verdict};
use monoport::config::{Args, CheckArgs, Cli, Command, Config, PortsArgs};
use monoport::cpu;
use monoport::node::{Node, PortPlan};
use tracing_subscriber::EnvFilter;

/// Per-thread heaps, and a free on another thread costs little: media crosses shards.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let Cli { command, args } = Cli::parse();
    let done = match command {
        None => run(args).map(|()| ExitCode::SUCCESS),
        Some(Command::Ports(ports)) => print_ports(*ports).map(|()| ExitCode::SUCCESS),
        Some(Command::Check(check)) => print_check(*check),
    };
    done.unwrap_or_else(|error| {
        eprintln!("monoport: {error}");
        ExitCode::FAILURE
    })
}

fn log(args: &Args) {
    let filter = EnvFilter::try_new(&args.log).unwrap_or_else(|_error| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}

fn run(args: Args) -> Result<(), Box<dyn Error>> {
    log(&args);
    if let Err(error) = cpu::disable_huge_pages() {
        tracing::debug!("huge pages stay: {error}");
    }
    let config = Config::new(args, &cpu::available_cores())?;
    let node = Node::start(&config)?;
    print!("{}", node.banner());
    println!("ready; Ctrl-C ends it");
    node.serve_until_drained(config.drain_timeout)?;
    println!("stopping");
    node.stop();
    Ok(())
}

fn print_ports(PortsArgs { json, nft, args }: PortsArgs) -> Result<(), Box<dyn Error>> {
    log(&args);
    let plan = PortPlan::new(&Config::new(args, &cpu::available_cores())?)?;
    let text = match (json, nft) {
        (true, _) => plan.json(),
        (_, true) => plan.nft(),
        _ => plan.text(),
    };
    print!("{text}");
    Ok(())
}

fn print_check(CheckArgs { peer, args }: CheckArgs) -> Result<ExitCode, Box<dyn Error>> {
    let config = Config::new(args, &cpu::available_cores())?;
    let findings = match peer {
        Some(url) => check::check_peer(&url, config.token.as_deref()),
        None => check::check(&config, &Host::at("/")),
    };
    print!("{}", check::describe(&findings));
    Ok(match check::worst(&findings) {
        Verdict::Fail => ExitCode::FAILURE,
        Verdict::Warn | Verdict::Ok => ExitCode::SUCCESS,
    })
}
