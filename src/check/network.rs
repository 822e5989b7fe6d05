//! Network cards: whether their queues keep up with the shards.

use super::{Finding, Host};
use crate::config::Config;
use crate::net::udp_hash_has_ports;

/// Two findings per card that is up; virtual interfaces have no queues worth counting.
pub(super) fn cards(config: &Config, host: &Host) -> Vec<Finding> {
    let up = |name: &String| {
        let folder = format!("sys/class/net/{name}");
        let state = host.text(&format!("{folder}/operstate")).unwrap_or_default();
        host.exists(&format!("{folder}/device")) && state != "down"
    };
    let names: Vec<String> = host.names("sys/class/net").into_iter().filter(up).collect();
    if names.is_empty() {
        return vec![Finding::ok("queues", "no network card is up; nothing to spread")];
    }
    let mut findings = Vec::new();
    for name in names {
        let queues = host.names(&format!("sys/class/net/{name}/queues"));
        let queues = queues.iter().filter(|queue| queue.starts_with("rx-")).count();
        findings.push(spread(&name, queues, config, host));
        if queues > 1 {
            findings.push(hash(&name, udp_hash_has_ports(&name)));
        }
    }
    findings
}

/// Each queue interrupts one core, so fewer queues than shards leave cores waiting.
fn spread(name: &str, queues: usize, config: &Config, host: &Host) -> Finding {
    let what = "queues";
    // Shards beyond the cores share them.
    let mut cores = config.shard_cores.clone();
    cores.sort_unstable();
    cores.dedup();
    let cores = cores.len();
    let found = format!("{name} has {queues} to receive, for {cores} cores with shards");
    if queues >= cores {
        return Finding::ok(what, found);
    }
    // Receive packet steering spreads in software what the card does not.
    let rps = format!("sys/class/net/{name}/queues/rx-0/rps_cpus");
    let spread = |mask: String| mask.chars().any(|c| c != '0' && c != ',');
    if host.text(&rps).is_some_and(spread) {
        return Finding::ok(what, format!("{found}; spread in software (RPS)"));
    }
    let fix = format!(
        "ethtool -L {name} combined {cores} || echo {} > /{rps}",
        mask(&config.shard_cores)
    );
    Finding::warn(what, found, fix)
}

/// The cores as `rps_cpus` wants them: hexadecimal words of 32, the highest first.
fn mask(cores: &[usize]) -> String {
    let words = cores.iter().max().map_or(1, |highest| highest / 32 + 1);
    let mut mask = vec![0u32; words];
    for core in cores {
        mask[core / 32] |= 1 << (core % 32);
    }
    let mut text = String::new();
    for (index, word) in mask.iter().rev().enumerate() {
        match index {
            0 => text.push_str(&format!("{word:x}")),
            _ => text.push_str(&format!(",{word:08x}")),
        }
    }
    text
}

/// Without ports in its hash, a card puts everybody behind one address on one queue.
fn hash(name: &str, has_ports: std::io::Result<bool>) -> Finding {
    let what = "RSS hash";
    match has_ports {
        Ok(true) => Finding::ok(what, format!("{name} spreads UDP by address and port")),
        Ok(false) => Finding::warn(
            what,
            format!("{name} spreads UDP by address alone"),
            format!("ethtool -N {name} rx-flow-hash udp4 sdfn"),
        ),
        Err(error) => Finding::ok(what, format!("{name} does not tell: {error}")),
    }
}
