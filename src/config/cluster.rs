//! Other nodes, and the directory that all of them share.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use ring::hmac;

use super::ConfigError;
use super::access::text_of;
use crate::limits::{
    LINK_CHILDREN, MAX_DIRECTORY_SERVERS, MAX_LINK_CHILDREN, MAX_NODE_NAME_CHARS,
    MIN_CLUSTER_SECRET_BYTES,
};

/// The flags of clusters.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ClusterArgs {
    /// Be one of several nodes, none of which publishes a stream that another one does: the Redis
    /// or Valkey they share, as in redis://HOST:6379/0
    #[arg(long, value_name = "URL", env = "MONOPORT_CLUSTER", hide_env_values = true)]
    pub cluster: Option<ClusterUrl>,

    /// This node's name there, unlike that of any other; the host's name when not given
    #[arg(long, value_name = "NAME", requires = "cluster")]
    pub node: Option<NodeName>,

    /// Where this node stands: sessions go to nodes of the zone they come to first
    #[arg(long, value_name = "NAME", requires = "cluster")]
    pub zone: Option<NodeName>,

    /// A file whose first line is the secret that nodes sign with what they say to one another; one
    /// on a second line is taken as well
    #[arg(long, value_name = "FILE", requires = "cluster")]
    pub cluster_secret_file: Option<PathBuf>,

    /// How many nodes take a stream from this one, before those that come later take it from them
    #[arg(long, value_name = "N", default_value_t = LINK_CHILDREN)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_LINK_CHILDREN)))]
    pub link_children: u32,

    /// How many megabits a second of a stream go to another node at most: its largest layers are
    /// left out where it has more
    #[arg(long, value_name = "N", requires = "cluster")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub link_mbps: Option<u32>,
}

/// This node among others, with the secrets read.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    /// The directory; a node without has no others.
    pub cluster: Option<ClusterUrl>,
    /// Its name; the host's when not given.
    pub node: Option<NodeName>,
    /// Where it stands.
    pub zone: Option<NodeName>,
    /// What it signs with.
    pub secrets: ClusterSecrets,
    /// Where they were read from.
    pub secret_file: Option<PathBuf>,
    /// How many nodes take a stream from this one.
    pub link_children: u32,
    /// How many megabits a second of a stream go to another node at most.
    pub link_mbps: Option<u32>,
}

/// What nodes sign with: the first, and take: all of them. They are not printed.
#[derive(Clone, Default)]
pub struct ClusterSecrets(Vec<hmac::Key>);

impl Cluster {
    /// Reads the secrets that `args` name.
    ///
    /// # Errors
    /// What is wrong with their file.
    pub fn read(args: &ClusterArgs) -> Result<Cluster, ConfigError> {
        let ClusterArgs { cluster, node, zone, cluster_secret_file, .. } = args.clone();
        let ClusterArgs { link_children, link_mbps, .. } = *args;
        let secrets = cluster_secret_file.as_deref().map(ClusterSecrets::read).transpose()?;
        let (secrets, secret_file) = (secrets.unwrap_or_default(), cluster_secret_file);
        Ok(Cluster { cluster, node, zone, secrets, secret_file, link_children, link_mbps })
    }

    /// The secrets as their file has them now.
    ///
    /// # Errors
    /// As for [`Cluster::read`].
    pub fn read_secrets_again(&self) -> Result<ClusterSecrets, ConfigError> {
        let read = self.secret_file.as_deref().map(ClusterSecrets::read).transpose()?;
        Ok(read.unwrap_or_default())
    }
}

impl ClusterSecrets {
    fn read(path: &Path) -> Result<ClusterSecrets, ConfigError> {
        let error = |problem: String| ConfigError::ClusterSecretFile {
            path: path.display().to_string(),
            problem,
        };
        let text = text_of(path).map_err(|e| error(e.to_string()))?;
        ClusterSecrets::of(&text).map_err(error)
    }

    fn of(text: &str) -> Result<ClusterSecrets, String> {
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
        if !(1..=2).contains(&lines.len()) {
            return Err(format!(
                "it has {} lines with a secret, and needs one or two",
                lines.len()
            ));
        }
        if lines.iter().any(|line| line.len() < MIN_CLUSTER_SECRET_BYTES) {
            return Err(format!(
                "a secret has at least {MIN_CLUSTER_SECRET_BYTES} characters, as of `openssl rand \
                 -hex 32`"
            ));
        }
        let key = |line: &&str| hmac::Key::new(hmac::HMAC_SHA256, line.as_bytes());
        Ok(ClusterSecrets(lines.iter().map(key).collect()))
    }

    /// The keys, the one to sign with first; none where there is no secret.
    #[must_use]
    pub fn keys(&self) -> &[hmac::Key] {
        &self.0
    }

    /// What tells whether two nodes have the same, separated by spaces. It is of no use to who has
    /// not the secrets: those are too long to be guessed.
    #[must_use]
    pub fn fingerprints(&self) -> String {
        let fingerprint = |key: &hmac::Key| {
            let tag = hmac::sign(key, b"monoport: the fingerprint of a cluster's secret");
            tag.as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect::<String>()
        };
        self.0.iter().map(fingerprint).collect::<Vec<_>>().join(" ")
    }
}

impl fmt::Debug for ClusterSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClusterSecrets({} not shown)", self.0.len())
    }
}

/// Where the directory of nodes is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterUrl {
    /// Servers of Redis, or Sentinels.
    pub urls: Vec<String>,
    /// What the Sentinels call the master.
    pub master: Option<String>,
}

/// A name in logs, answers and keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeName(pub Box<str>);

const FORMS: &str = "it takes redis://[USER:PASSWORD@]HOST[:PORT][/DB], the same with rediss:// \
                     for TLS, unix:///PATH, or \
                     redis+sentinel://[USER:PASSWORD@]HOST[:PORT],…/MASTER";

impl FromStr for ClusterUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<ClusterUrl, String> {
        let cluster = match text.strip_prefix("redis+sentinel://") {
            None => ClusterUrl { urls: vec![text.to_owned()], master: None },
            Some(rest) => {
                let (authority, master) = rest.split_once('/').ok_or(FORMS)?;
                let (user, hosts) = match authority.rsplit_once('@') {
                    Some((user, hosts)) => (format!("{user}@"), hosts),
                    None => (String::new(), authority),
                };
                let urls: Vec<String> = hosts
                    .split(',')
                    .map(|host| match host.rsplit_once(':') {
                        Some((_, port)) if port.parse::<u16>().is_ok() => {
                            format!("redis://{user}{host}")
                        }
                        _ => format!("redis://{user}{host}:26379"),
                    })
                    .collect();
                if master.is_empty() || master.contains('/') || urls.len() > MAX_DIRECTORY_SERVERS {
                    return Err(FORMS.to_owned());
                }
                ClusterUrl { urls, master: Some(master.to_owned()) }
            }
        };
        let is_right = |url: &String| redis::Client::open(url.as_str()).is_ok();
        if cluster.urls.iter().all(is_right) { Ok(cluster) } else { Err(FORMS.to_owned()) }
    }
}

impl fmt::Display for ClusterUrl {
    /// Without user and password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts = self.urls.iter().map(|url| {
            let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
            let host = rest.rsplit_once('@').map_or(rest, |(_user, host)| host);
            match self.master {
                Some(_) => host.to_owned(),
                None => format!("{scheme}://{host}"),
            }
        });
        let hosts: Vec<String> = hosts.collect();
        match &self.master {
            Some(master) => write!(f, "`{master}` of the Sentinels {}", hosts.join(" ")),
            None => f.write_str(&hosts.join(" ")),
        }
    }
}

impl FromStr for NodeName {
    type Err = String;

    fn from_str(text: &str) -> Result<NodeName, String> {
        let fits = (1..=MAX_NODE_NAME_CHARS).contains(&text.len());
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        match fits && text.bytes().all(is_plain) {
            true => Ok(NodeName(text.into())),
            false => Err(format!(
                "the name of a node or a zone has 1 to {MAX_NODE_NAME_CHARS} letters, digits, \
                 dots, dashes and underscores"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_at_one_place_or_where_sentinels_say_and_its_password_is_not_shown() {
        let read = |text: &str| text.parse::<ClusterUrl>();
        let one = read("redis://user:hidden@r.example:6380/2").expect("a server");
        assert_eq!((one.urls.len(), &one.master), (1, &None));
        assert_eq!(one.to_string(), "redis://r.example:6380/2");
        assert!(read("rediss://r.example").is_ok() && read("unix:///run/redis.sock").is_ok());
        let many = read("redis+sentinel://:hidden@a.example,b.example:26380/mymaster");
        let many = many.expect("Sentinels");
        let urls = ["redis://:hidden@a.example:26379", "redis://:hidden@b.example:26380"];
        assert_eq!(many.urls, urls);
        assert_eq!(many.to_string(), "`mymaster` of the Sentinels a.example:26379 b.example:26380");
        let endless = format!("redis+sentinel://{}/m", vec!["a"; 17].join(","));
        for wrong in ["", "r.example", "http://r", "redis+sentinel://a", "redis+sentinel://a/"] {
            assert_eq!(read(wrong), Err(FORMS.to_owned()), "{wrong}");
        }
        assert!(read(&endless).is_err());
    }

    #[test]
    fn a_secret_is_long_and_is_not_printed_nor_told_by_its_fingerprint() {
        let (one, two) = ("a".repeat(32), "b".repeat(32));
        let read = |text: String| ClusterSecrets::of(&text);
        let first = read(format!("{one}\n")).expect("a secret");
        let both = read(format!("{one}\n\n {two} \n")).expect("two secrets");
        assert_eq!((first.keys().len(), both.keys().len()), (1, 2));
        assert!(both.fingerprints().starts_with(&format!("{} ", first.fingerprints())));
        assert_eq!(first.fingerprints().len(), 16);
        assert_eq!(format!("{both:?}"), "ClusterSecrets(2 not shown)");
        for wrong in [String::new(), "a".repeat(31), format!("{one}\n{two}\n{one}")] {
            let words = read(wrong.clone()).expect_err("no secret").clone();
            assert!(wrong.is_empty() || !words.contains(&wrong), "{words}");
        }
    }

    #[test]
    fn a_nodes_name_is_plain() {
        assert!("fra-1.example_x".parse::<NodeName>().is_ok());
        for wrong in ["", "a b", "a:b", "{a}", "ä", &"a".repeat(65)] {
            assert!(wrong.parse::<NodeName>().is_err(), "{wrong}");
        }
    }
}
