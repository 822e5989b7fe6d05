//! Other nodes, and the directory that all of them share.

use std::fmt;
use std::str::FromStr;

use crate::limits::{MAX_DIRECTORY_SERVERS, MAX_NODE_NAME_CHARS};

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
                "a node's name has 1 to {MAX_NODE_NAME_CHARS} letters, digits, dots, dashes and \
                 underscores"
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
    fn a_nodes_name_is_plain() {
        assert!("fra-1.example_x".parse::<NodeName>().is_ok());
        for wrong in ["", "a b", "a:b", "{a}", "ä", &"a".repeat(65)] {
            assert!(wrong.parse::<NodeName>().is_err(), "{wrong}");
        }
    }
}
