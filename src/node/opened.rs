//! What the server listens on: bound anew, or taken over from the running server.

use std::net::TcpListener;

use super::StartError;
use super::announce::{self, Reachable};
use super::bind::{Bound, bind_tcp, bind_udp};
use super::choose::steering;
use super::takeover::Taking;
use super::web::bind_http;
use crate::config::Config;
use crate::net::Steering;
use crate::shard::Earlier;

/// The sockets of a server that is about to start.
pub(super) struct Opened {
    pub bound: Bound,
    pub http: TcpListener,
    pub tcp: Option<TcpListener>,
    /// The addresses that answers name.
    pub reachable: Vec<Reachable>,
    /// Where they come from, if they are another process's until it lets go of them.
    pub taking: Option<Taking>,
}

impl Opened {
    pub fn new(config: &Config) -> Result<Opened, StartError> {
        if !config.takeover {
            let bound = bind_udp(config)?;
            let tcp = config.tcp_port.map(|port| bind_tcp(port, bound.ip)).transpose()?;
            let http = bind_http(config.http)?;
            let reachable = match config.udp.range {
                None => announce::reachable(config, &bound.sockets)?,
                // Its ports are bound as sessions come; each is the same outside.
                Some(_) => announce::planned(config)?,
            };
            return Ok(Opened { bound, http, tcp, reachable, taking: None });
        }
        let mut taking = Taking::begin(config)?;
        let bound = taking.bound(config);
        let reachable = match config.external_ip.is_empty() {
            true => announce::reachable(config, &bound.sockets)?,
            false => taking.reachable(),
        };
        let http = taking.http.try_clone()?;
        let tcp = taking.tcp.as_ref().map(TcpListener::try_clone).transpose()?;
        Ok(Opened { bound, http, tcp, reachable, taking: Some(taking) })
    }

    /// Puts steering programs on the ports where that is wanted and allowed, or keeps those that
    /// are there, and says what is active.
    pub fn steering(&mut self, config: &Config) -> Result<(Option<Steering>, String), StartError> {
        let taken = self.taking.as_mut().map(Taking::steering).transpose()?.flatten();
        match taken {
            Some(taken) => {
                Ok((Some(taken), "eBPF: by ufrag and flow, as of the server taken over".into()))
            }
            None => steering(config, &self.bound.sockets),
        }
    }

    /// Which node the process is that is taken over, where it says.
    pub fn incarnation(&self) -> Option<u64> {
        self.taking.as_ref().and_then(Taking::incarnation)
    }

    /// Of each shard, its way to the process that is taken over; nothing where none is.
    pub fn earlier(&mut self) -> Vec<Earlier> {
        self.taking.as_mut().map(Taking::earlier).unwrap_or_default()
    }
}
