//! `monoport`: parse the options, run the node, stop on a signal.

use std::process::ExitCode;

use clap::Parser;
use monoport::config::{Args, Config};
use monoport::cpu;
use monoport::node::Node;
use tracing_subscriber::EnvFilter;

/// Per-thread heaps, and a free on another thread costs little: media crosses shards.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let args = Args::parse();
    let filter = EnvFilter::try_new(&args.log).unwrap_or_else(|_error| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("monoport: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> Result<(), Box<dyn std::error::Error>> {
    if let Err(error) = cpu::disable_huge_pages() {
        tracing::debug!("huge pages stay: {error}");
    }
    let config = Config::new(args, &cpu::available_cores())?;
    let node = Node::start(&config)?;
    print!("{}", node.banner());
    println!("ready; Ctrl-C ends it");
    node.wait_for_signal()?;
    println!("stopping");
    node.stop();
    Ok(())
}
