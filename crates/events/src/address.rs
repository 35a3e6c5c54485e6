//! Client addresses: what gateways write, to one canonical text and its network.
//!
//! ```text
//!   203.0.113.9:443          203.0.113.9      203.0.113.0/24
//!   ::ffff:203.0.113.9   ─▶  203.0.113.9      203.0.113.0/24
//!   [2001:db8:1:2::a]:80     2001:db8:1:2::a  2001:db8:1:2::/64
//!   fe80::1%eth0             fe80::1          fe80::/64
//! ```
//!
//! An IPv6 address is written as RFC 5952 says. The networks are those that one client usually holds:
//! the /24 of IPv4, the /64 of IPv6.

use std::net::{IpAddr, Ipv4Addr};

/// The address of a text, its port, brackets and zone id left out and a mapped address resolved.
pub(crate) fn parse(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    if let Some(address) = dotted(text) {
        return Some(IpAddr::V4(address));
    }
    let bare = if let Some(rest) = text.strip_prefix('[') {
        let (inside, after) = rest.split_once(']')?;
        if !after.is_empty() && !is_port(after.strip_prefix(':')?) {
            return None;
        }
        inside
    } else {
        match text.split_once(':') {
            // One colon separates a port; an IPv6 address has two at least.
            Some((address, port)) if !port.contains(':') => {
                return if is_port(port) {
                    address.parse().ok().map(IpAddr::V4)
                } else {
                    None
                };
            }
            _ => text,
        }
    };
    let address = match bare.split_once('%') {
        Some((address, zone)) if !zone.is_empty() => address,
        _ => bare,
    };
    // Brackets hold an IPv6 address, in some gateways an IPv4 one too.
    let address = address.parse::<IpAddr>().ok()?;
    Some(match address {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    })
}

/// An address in dotted decimal, as `Ipv4Addr` parses it, in a third of the time.
fn dotted(text: &str) -> Option<Ipv4Addr> {
    let mut octets = [0; 4];
    let (mut place, mut value, mut digits) = (0, 0_u32, 0);
    for byte in text.bytes() {
        match byte {
            b'0'..=b'9' if digits == 0 || (value != 0 && digits < 3) => {
                value = value * 10 + u32::from(byte - b'0');
                digits += 1;
            }
            b'.' if digits > 0 && place < 3 => {
                octets[place] = u8::try_from(value).ok()?;
                (place, value, digits) = (place + 1, 0, 0);
            }
            _ => return None,
        }
    }
    octets[3] = u8::try_from(value).ok()?;
    (place == 3 && digits > 0).then(|| Ipv4Addr::from(octets))
}

fn is_port(text: &str) -> bool {
    text.parse::<u16>().is_ok() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Writes the canonical text of an address and of its network over what the two hold.
pub(crate) fn write(address: IpAddr, text: &mut String, network: &mut String) {
    text.clear();
    network.clear();
    match address {
        IpAddr::V4(v4) => {
            for (place, octet) in v4.octets().into_iter().enumerate() {
                if place > 0 {
                    text.push('.');
                }
                if place == 3 {
                    network.push_str(text);
                    network.push_str("0/24");
                }
                push_octet(text, octet);
            }
        }
        IpAddr::V6(v6) => {
            let segments = v6.segments();
            let [a, b, c, d, ..] = segments;
            push_segments(text, segments);
            push_segments(network, [a, b, c, d, 0, 0, 0, 0]);
            network.push_str("/64");
        }
    }
}

/// RFC 5952: lower case, no leading zeros, the first longest run of two zeros or more is `::`. Mapped
/// addresses, which it would write otherwise, do not come here.
fn push_segments(text: &mut String, segments: [u16; 8]) {
    let (mut run, mut zeros) = (0..0, 0..0);
    for (place, segment) in segments.into_iter().enumerate() {
        run = match segment {
            0 if run.end == place && !run.is_empty() => run.start..place + 1,
            0 => place..place + 1,
            _ => 0..0,
        };
        if run.len() > zeros.len().max(1) {
            zeros = run.clone();
        }
    }
    let mut place = 0;
    while place < 8 {
        if place == zeros.start && !zeros.is_empty() {
            text.push_str("::");
            place = zeros.end;
            continue;
        }
        if place > 0 && place != zeros.end {
            text.push(':');
        }
        let segment = segments[place];
        let digits = (16 - segment.leading_zeros()).div_ceil(4).max(1);
        for digit in (0..digits).rev() {
            let value = (segment >> (4 * digit) & 15) as u8;
            text.push(char::from(b"0123456789abcdef"[usize::from(value)]));
        }
        place += 1;
    }
}

fn push_octet(text: &mut String, octet: u8) {
    let digit = |value: u8| char::from(b'0' + value);
    if octet >= 100 {
        text.push(digit(octet / 100));
    }
    if octet >= 10 {
        text.push(digit(octet / 10 % 10));
    }
    text.push(digit(octet % 10));
}

/// Whether an address is none of the public internet's: private, shared (RFC 6598), loopback,
/// link-local, unique local, or unspecified.
pub(crate) fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let octets = v4.octets();
            v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_unspecified()
                || (octets[0] == 100 && octets[1] & 0xc0 == 64)
        }
        IpAddr::V6(v6) => {
            v6.is_loopback()
                || v6.is_unspecified()
                || v6.is_unique_local()
                || v6.is_unicast_link_local()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written_as_the_standard_library_does() {
        for text in [
            "0.0.0.0",
            "1.2.3.4",
            "255.255.255.255",
            "256.1.1.1",
            "01.1.1.1",
            "1.1.1",
            "1.1.1.1.",
            ".1.1.1.1",
            "1..1.1",
            "1.1.1.0001",
            "",
            "1.1.1.00",
        ] {
            assert_eq!(dotted(text), text.parse().ok(), "{text}");
        }
        let mut random = 1_u64;
        for _ in 0..100_000 {
            let segments = [0; 8].map(|_: u16| {
                random = random
                    .wrapping_mul(6364136223846793005)
                    .wrapping_add(1442695040888963407);
                let value = (random >> 33) as u16;
                if random >> 60 < 9 {
                    0
                } else {
                    value >> (random >> 50 & 15)
                }
            });
            let address = std::net::Ipv6Addr::from(segments);
            if address.to_ipv4_mapped().is_some() {
                continue;
            }
            let mut text = String::new();
            push_segments(&mut text, segments);
            assert_eq!(text, address.to_string());
        }
    }

    #[test]
    fn gateways_forms_have_one_canonical_text() {
        for (written, text, network) in [
            ("203.0.113.9", "203.0.113.9", "203.0.113.0/24"),
            (" 203.0.113.109:65535 ", "203.0.113.109", "203.0.113.0/24"),
            ("::ffff:203.0.113.9", "203.0.113.9", "203.0.113.0/24"),
            ("[::FFFF:203.0.113.9]:80", "203.0.113.9", "203.0.113.0/24"),
            ("::ffff:cb00:7109", "203.0.113.9", "203.0.113.0/24"),
            ("[203.0.113.9]", "203.0.113.9", "203.0.113.0/24"),
            (
                "2001:DB8:1:2:0:0:0:A",
                "2001:db8:1:2::a",
                "2001:db8:1:2::/64",
            ),
            (
                "[2001:db8:1:2::a]:443",
                "2001:db8:1:2::a",
                "2001:db8:1:2::/64",
            ),
            ("fe80::1%eth0", "fe80::1", "fe80::/64"),
            ("[fe80::1%25eth0]:80", "fe80::1", "fe80::/64"),
            ("::1", "::1", "::/64"),
        ] {
            let address = parse(written).unwrap();
            let (mut found, mut found_network) = ("old".to_string(), "old".to_string());
            write(address, &mut found, &mut found_network);
            assert_eq!(
                (found.as_str(), found_network.as_str()),
                (text, network),
                "{written}"
            );
        }
        for written in [
            "",
            "localhost",
            "1.2.3",
            "1.2.3.4.5",
            "256.1.1.1",
            "1.2.3.4:",
            "1.2.3.4:99999",
            "1.2.3.4:+1",
            "[::1",
            "[::1]x",
            "[::1]:",
            "::1%",
            "1.2.3.4, 5.6.7.8",
            "01.2.3.4",
            "2001:db8::1::2",
        ] {
            assert_eq!(parse(written), None, "{written}");
        }
    }
}
