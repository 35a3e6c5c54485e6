//! Addresses and networks of the Internet, shared by `ip_in` and `ip_net`.
//!
//! An IPv4-mapped IPv6 address (`::ffff:192.0.2.1`) is the IPv4 address that it stands for, and a
//! network of such addresses (`::ffff:192.0.2.0/120`) the IPv4 network. No IPv4 address is in a network
//! of IPv6, `::/0` included.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address as text, or `None` for what is none.
pub(crate) fn address(text: &str) -> Option<IpAddr> {
    Some(text.parse::<IpAddr>().ok()?.to_canonical())
}

/// How many bits the addresses of this kind have.
pub(crate) fn width(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

/// All addresses whose first `bits` bits are those of `first`; the others are 0 in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Network {
    pub(crate) first: IpAddr,
    pub(crate) bits: u8,
}

impl Network {
    /// The network that `address` is in; `bits` is at most the address's width.
    pub(crate) fn of(address: IpAddr, bits: u8) -> Self {
        let first = match address {
            IpAddr::V4(ip) => IpAddr::V4(Ipv4Addr::from_bits(ip.to_bits() & mask_v4(bits))),
            IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & mask_v6(bits))),
        };
        Network { first, bits }
    }

    /// `192.0.2.0/24`, `2001:db8::/32`, or an address for the network of it alone. Bits of the address
    /// below the prefix do not matter: `192.0.2.7/24` is `192.0.2.0/24`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let Some((ip, bits)) = text.split_once('/') else {
            let ip = address(text)?;
            return Some(Network::of(ip, width(ip)));
        };
        if bits.is_empty() || bits.len() > 3 || !bits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let ip: IpAddr = ip.parse().ok()?;
        let bits = bits.parse().ok().filter(|&bits: &u8| bits <= width(ip))?;
        match ip.to_canonical() {
            IpAddr::V4(mapped) if ip.is_ipv6() && bits >= 96 => {
                Some(Network::of(IpAddr::V4(mapped), bits - 96))
            }
            _ => Some(Network::of(ip, bits)),
        }
    }
}

fn mask_v4(bits: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0)
}

fn mask_v6(bits: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0)
}

/// A set of networks: the ranges of addresses that they cover, ascending, no two of which touch.
#[derive(Debug, Default)]
pub(crate) struct NetworkSet {
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
}

impl NetworkSet {
    pub(crate) fn new(networks: impl IntoIterator<Item = Network>) -> Self {
        let mut set = NetworkSet::default();
        for Network { first, bits } in networks {
            match first {
                IpAddr::V4(ip) => set.v4.push((ip.to_bits(), ip.to_bits() | !mask_v4(bits))),
                IpAddr::V6(ip) => set.v6.push((ip.to_bits(), ip.to_bits() | !mask_v6(bits))),
            }
        }
        disjoint(&mut set.v4, |last| last.checked_add(1));
        disjoint(&mut set.v6, |last| last.checked_add(1));
        set
    }

    /// Whether a network of the set holds `address`. Costs a binary search.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(ip) => within(&self.v4, ip.to_bits()),
            IpAddr::V6(ip) => within(&self.v6, ip.to_bits()),
        }
    }
}

fn disjoint<T: Ord + Copy>(ranges: &mut Vec<(T, T)>, next: impl Fn(T) -> Option<T>) {
    ranges.sort_unstable();
    ranges.dedup_by(|(first, last), (_, last_before)| {
        let joins = next(*last_before).is_none_or(|next| *first <= next);
        if joins {
            *last_before = (*last_before).max(*last);
        }
        joins
    });
}

fn within<T: Ord + Copy>(ranges: &[(T, T)], address: T) -> bool {
    let after = ranges.partition_point(|&(first, _)| first <= address);
    after > 0 && address <= ranges[after - 1].1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Option<String> {
        Network::parse(text).map(|network| format!("{}/{}", network.first, network.bits))
    }

    #[test]
    fn a_network_is_written_with_a_prefix_or_as_one_address() {
        for (text, expected) in [
            ("192.0.2.0/24", "192.0.2.0/24"),
            ("192.0.2.77/24", "192.0.2.0/24"),
            ("192.0.2.77", "192.0.2.77/32"),
            ("192.0.2.77/32", "192.0.2.77/32"),
            ("255.255.255.255/0", "0.0.0.0/0"),
            ("2001:DB8::1/32", "2001:db8::/32"),
            ("2001:db8::1", "2001:db8::1/128"),
            ("ffff::/0", "::/0"),
            ("::1/128", "::1/128"),
            ("::ffff:192.0.2.1", "192.0.2.1/32"),
            ("::ffff:192.0.2.1/120", "192.0.2.0/24"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("::ffff:0:0/95", "::fffe:0:0/95"),
        ] {
            assert_eq!(network(text).as_deref(), Some(expected), "{text}");
        }
        for text in [
            "",
            "/",
            "/8",
            "10.0.0.0/",
            "10.0.0.0/33",
            "10.0.0.0/+8",
            "10.0.0.0/ 8",
            "10.0.0/8",
            "10.0.0.0/8/8",
            "::/129",
            "::/1000",
            "::/256",
            "fe80::1%eth0",
            "host",
            "10.0.0.0/-1",
        ] {
            assert_eq!(network(text), None, "{text}");
        }
    }

    #[test]
    fn a_set_joins_ranges_that_overlap_or_touch() {
        let set = NetworkSet::new(
            [
                "10.0.1.0/24",
                "10.0.0.0/24",
                "10.0.0.128/25",
                "255.255.255.0/24",
                "0.0.0.0/32",
                "ffff::/16",
                "ffff:ffff::/32",
                "::1",
                "255.255.255.255",
            ]
            .map(|text| Network::parse(text).unwrap()),
        );
        assert_eq!(set.v4.len(), 3);
        assert_eq!(set.v6.len(), 2);
        for (ip, expected) in [
            ("9.255.255.255", false),
            ("10.0.0.0", true),
            ("10.0.1.255", true),
            ("10.0.2.0", false),
            ("255.255.255.255", true),
            ("0.0.0.0", true),
            ("0.0.0.1", false),
            ("::1", true),
            ("::", false),
            ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", true),
            ("::ffff:10.0.0.5", true),
        ] {
            assert_eq!(set.contains(address(ip).unwrap()), expected, "{ip}");
        }
        let all =
            NetworkSet::new(["0.0.0.0/0", "1.2.3.4"].map(|text| Network::parse(text).unwrap()));
        assert_eq!(all.v4, [(0, u32::MAX)]);
        assert!(!all.contains(address("::1").unwrap()));
    }
}
