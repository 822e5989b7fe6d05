//! Which cores the shards run on.

use super::{Args, ConfigError};
use crate::limits::MAX_SHARDS;

/// A list of cores, as in `0,2-5`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoreList(pub Vec<usize>);

impl std::str::FromStr for CoreList {
    type Err = String;

    fn from_str(text: &str) -> Result<CoreList, String> {
        let number = |part: &str| {
            part.trim().parse::<usize>().map_err(|_error| format!("`{part}` is not a core number"))
        };
        let mut cores = Vec::new();
        for part in text.split(',') {
            match part.split_once('-') {
                Some((first, last)) => {
                    let (first, last) = (number(first)?, number(last)?);
                    if last < first || last - first >= MAX_SHARDS {
                        return Err(format!("`{part}` is not a range of cores"));
                    }
                    cores.extend(first..=last);
                }
                None => cores.push(number(part)?),
            }
        }
        Ok(CoreList(cores))
    }
}

/// The core of each shard.
pub(super) fn shard_cores(args: &Args, allowed: &[usize]) -> Result<Vec<usize>, ConfigError> {
    let cores = match &args.cores {
        Some(CoreList(cores)) => cores.clone(),
        None => allowed.to_vec(),
    };
    if let Some(core) = cores.iter().find(|core| !allowed.contains(core)) {
        return Err(ConfigError::ForbiddenCore { core: *core, allowed: allowed.to_vec() });
    }
    let shards = args.shards.unwrap_or(cores.len());
    if !(1..=MAX_SHARDS).contains(&shards) {
        return Err(ConfigError::OutOfBounds {
            option: "shards",
            value: shards,
            problem: format!("must be within 1 and {MAX_SHARDS}"),
        });
    }
    // More shards than cores: the cores are used in turn.
    Ok(cores.iter().copied().cycle().take(shards).collect())
}
