//! Lists of networks: on the command line, and in files.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::ConfigError;
use super::addresses::Cidr;
use crate::access::Networks;
use crate::limits::{MAX_LIST_FILE_BYTES, MAX_LISTED_NETWORKS};

/// The flags of from where.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct PlaceArgs {
    /// Networks that alone may use WHIP, WHEP, the API and the metrics, as in 192.0.2.0/24
    #[arg(long, value_name = "CIDR,…", value_delimiter = ',')]
    pub allow: Vec<Cidr>,

    /// A file of such networks, one a line
    #[arg(long, value_name = "FILE")]
    pub allow_file: Option<PathBuf>,

    /// Networks that may not, whatever else is allowed
    #[arg(long, value_name = "CIDR,…", value_delimiter = ',')]
    pub deny: Vec<Cidr>,

    /// A file of such networks, one a line
    #[arg(long, value_name = "FILE")]
    pub deny_file: Option<PathBuf>,

    /// Proxies whose word about a client's address is taken, by X-Forwarded-For or Forwarded
    #[arg(long, value_name = "CIDR,…", value_delimiter = ',')]
    pub trusted_proxies: Vec<Cidr>,
}

/// From where somebody may do something.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// Networks that alone may; all where there is no list.
    pub allow: Option<Networks>,
    /// Networks that may not.
    pub deny: Networks,
    /// Proxies whose word about a client's address is taken.
    pub trusted_proxies: Networks,
}

impl Places {
    /// Reads the lists that `args` name.
    pub(super) fn read(args: &PlaceArgs) -> Result<Places, ConfigError> {
        let is_listed = !args.allow.is_empty() || args.allow_file.is_some();
        let allow = networks(&args.allow, args.allow_file.as_deref())?;
        Ok(Places {
            allow: is_listed.then_some(allow),
            deny: networks(&args.deny, args.deny_file.as_deref())?,
            trusted_proxies: networks(&args.trusted_proxies, None)?,
        })
    }
}

fn networks(given: &[Cidr], file: Option<&Path>) -> Result<Networks, ConfigError> {
    let mut all = given.to_vec();
    if let Some(path) = file {
        let error =
            |problem: String| ConfigError::ListFile { path: path.display().to_string(), problem };
        let text = text_of(path).map_err(|e| error(e.to_string()))?;
        all.extend(listed(&text).map_err(error)?);
    }
    Ok(all.into_iter().map(Cidr::network).collect())
}

/// A file of networks, and not a part of one that is too long: who is left out would be let in.
fn text_of(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(MAX_LIST_FILE_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_LIST_FILE_BYTES {
        let words = format!("it has more than {MAX_LIST_FILE_BYTES} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, words));
    }
    Ok(text)
}

/// The networks of a file: one a line, `#` begins a comment.
fn listed(text: &str) -> Result<Vec<Cidr>, String> {
    let mut networks = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        if networks.len() >= MAX_LISTED_NETWORKS {
            return Err(format!("it has more than {MAX_LISTED_NETWORKS} networks"));
        }
        networks.push(line.parse().map_err(|error| format!("line {}: {error}", number + 1))?);
    }
    Ok(networks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_a_network_a_line_and_says_which_line_is_none() {
        let text = "# ours\n192.0.2.0/24\n\n 2001:db8::/32  # and theirs\n203.0.113.9\n";
        assert_eq!(listed(text).map(|networks| networks.len()), Ok(3));
        let error = listed("192.0.2.0/24\n192.0.2.0/40\n").expect_err("there is none like it");
        assert!(error.starts_with("line 2: `192.0.2.0/40`"), "{error}");
        let endless = "192.0.2.0\n".repeat(MAX_LISTED_NETWORKS + 1);
        assert!(listed(&endless).is_err());
    }

    #[test]
    fn an_empty_list_of_who_may_lets_nobody_in_and_none_lets_everybody_in() {
        let places = |args: PlaceArgs| Places::read(&args).expect("they are read");
        assert_eq!(places(PlaceArgs::default()).allow, None);
        let file = std::env::temp_dir().join(format!("monoport-list-{}", std::process::id()));
        std::fs::write(&file, "# nobody yet\n").expect("the file is written");
        let allow_file = Some(file.clone());
        let read = places(PlaceArgs { allow_file: allow_file.clone(), ..PlaceArgs::default() });
        assert_eq!(read.allow, Some(Networks::default()));
        std::fs::remove_file(file).expect("it is there");
        let gone = Places::read(&PlaceArgs { allow_file, ..PlaceArgs::default() });
        assert!(gone.is_err_and(|error| error.to_string().contains("monoport-list")));
    }
}
