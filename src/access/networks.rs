//! Sets of networks, looked up by address.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Networks of both families. A look-up is a search, however long the list was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks {
    /// Disjoint, in order.
    v4: Vec<Ipv4Net>,
    /// The same.
    v6: Vec<Ipv6Net>,
}

impl Networks {
    /// Whether `ip` is in one of them; an IPv4 address mapped into IPv6 is its IPv4 self.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        match ip.to_canonical() {
            IpAddr::V4(ip) => {
                let behind = self.v4.partition_point(|network| network.network() <= ip);
                behind > 0 && self.v4[behind - 1].contains(&ip)
            }
            IpAddr::V6(ip) => {
                let behind = self.v6.partition_point(|network| network.network() <= ip);
                behind > 0 && self.v6[behind - 1].contains(&ip)
            }
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }
}

impl FromIterator<IpNet> for Networks {
    fn from_iter<I: IntoIterator<Item = IpNet>>(networks: I) -> Networks {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for network in networks {
            match network {
                IpNet::V4(network) => v4.push(network),
                IpNet::V6(network) => v6.push(network),
            }
        }
        let (mut v4, mut v6) = (Ipv4Net::aggregate(&v4), Ipv6Net::aggregate(&v6));
        v4.sort_unstable_by_key(Ipv4Net::network);
        v6.sort_unstable_by_key(Ipv6Net::network);
        Networks { v4, v6 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_finds_what_a_walk_through_the_list_finds() {
        let mut random = fastrand::Rng::with_seed(7);
        let listed: Vec<IpNet> = (0..75)
            .map(|_| {
                let v4 = IpAddr::from([10, 0, random.u8(..8), random.u8(..)]);
                let v6 = IpAddr::from([0xfd00, 0, 0, 0, 0, 0, random.u16(..8), random.u16(..)]);
                match random.bool() {
                    true => IpNet::new(v4, random.u8(20..=32)),
                    false => IpNet::new(v6, random.u8(108..=128)),
                }
                .expect("a network")
            })
            .collect();
        let networks: Networks = listed.iter().copied().collect();
        let mut inside = 0;
        for _ in 0..20_000 {
            let low = random.u16(..);
            let v4 = IpAddr::from([10, 0, random.u8(..9), low as u8]);
            let v6 = IpAddr::from([0xfd00, 0, 0, 0, 0, 0, random.u16(..9), low]);
            for ip in [v4, v6] {
                let walked = listed.iter().any(|network| network.contains(&ip));
                assert_eq!(networks.contains(ip), walked, "{ip}");
                inside += usize::from(walked);
            }
        }
        assert!(inside > 100, "both happen: {inside}");
        let mapped = "::ffff:192.0.2.7".parse().expect("an address");
        let one: Networks = ["192.0.2.0/24".parse().expect("a network")].into_iter().collect();
        assert!(one.contains(mapped) && !Networks::default().contains(mapped));
    }
}
