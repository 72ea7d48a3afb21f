//! Which addresses may be fetched from. Sources: the IANA special-purpose address registries for IPv4 and IPv6 (RFC 6890), RFC 6052
//! (NAT64), RFC 7526 (6to4 is given up), and the metadata addresses that clouds publish.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Who may be behind an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Anybody on the internet.
    Public,
    /// This machine or the operator's own networks.
    Private,
    /// Nobody who serves images: metadata of the cloud, multicast, reserved, or a form that hides another address.
    Never,
}

/// Addresses by which clouds tell a machine its credentials, where their networks do not say so already.
const METADATA_V4: [Ipv4Addr; 2] = [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(168, 63, 129, 16)];
const METADATA_V6: [Ipv6Addr; 2] =
    [Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)];

impl Reach {
    pub(super) fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => of_v4(address),
            IpAddr::V6(address) => of_v6(address),
        }
    }
}

fn of_v4(address: Ipv4Addr) -> Reach {
    if METADATA_V4.contains(&address) {
        return Reach::Never;
    }
    match address.octets() {
        [10 | 127, ..] | [172, 16..=31, ..] | [192, 168, ..] | [100, 64..=127, ..] => Reach::Private,
        // This network, link-local.
        [0, ..] | [169, 254, ..] => Reach::Never,
        // Protocol assignments, documentation, the relay of 6to4, benchmarks.
        [192, 0, 0 | 2, _] | [198, 51, 100, _] | [203, 0, 113, _] | [192, 88, 99, _] | [198, 18 | 19, ..] => {
            Reach::Never
        }
        // Multicast, reserved, broadcast.
        [224..=255, ..] => Reach::Never,
        _ => Reach::Public,
    }
}

fn of_v6(address: Ipv6Addr) -> Reach {
    if METADATA_V6.contains(&address) {
        return Reach::Never;
    }
    if let Some(inner) = address.to_ipv4_mapped() {
        return of_v4(inner);
    }
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 1] => Reach::Private,
        // NAT64's well-known prefix stands for the address behind it.
        [0x64, 0xff9b, 0, 0, 0, 0, a, b] => of_v4(Ipv4Addr::from(u32::from(a) << 16 | u32::from(b))),
        [0xfc00..=0xfdff, ..] => Reach::Private,
        // Teredo, ORCHID, benchmarks and their like; documentation; 6to4.
        [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] | [0x2002, ..] => Reach::Never,
        [0x2000..=0x3fff, ..] => Reach::Public,
        // IPv4-compatible, link-local, site-local, multicast, local NAT64, and all that is assigned to nobody.
        _ => Reach::Never,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_all(reach: Reach, addresses: &[&str]) {
        for text in addresses {
            assert_eq!(Reach::of(text.parse().unwrap()), reach, "{text}");
        }
    }

    #[test]
    fn public_addresses_are_public() {
        assert_all(
            Reach::Public,
            &[
                "1.1.1.1",
                "8.8.8.8",
                "9.255.255.255",
                "11.0.0.0",
                "100.63.255.255",
                "100.128.0.0",
                "126.255.255.255",
                "128.0.0.0",
                "169.253.255.255",
                "169.255.0.0",
                "172.15.255.255",
                "172.32.0.0",
                "192.0.1.0",
                "192.167.255.255",
                "192.169.0.0",
                "198.17.255.255",
                "198.20.0.0",
                "223.255.255.255",
                "2001:4860:4860::8888",
                "2600::",
                "2a00::1",
                "2001:200::1",
                "::ffff:8.8.8.8",
                "64:ff9b::8.8.8.8",
            ],
        );
    }

    #[test]
    fn the_operators_own_networks_are_private_in_every_form() {
        assert_all(
            Reach::Private,
            &[
                "10.0.0.0",
                "10.255.255.255",
                "127.0.0.1",
                "127.255.255.254",
                "172.16.0.1",
                "172.31.255.255",
                "192.168.0.1",
                "192.168.255.255",
                "100.64.0.0",
                "100.127.255.255",
                "::1",
                "fc00::1",
                "fdff:ffff::1",
                "::ffff:127.0.0.1",
                "::ffff:10.0.0.1",
                "::ffff:a00:1",
                "64:ff9b::127.0.0.1",
                "64:ff9b::c0a8:1",
            ],
        );
    }

    #[test]
    fn metadata_and_what_nobody_serves_from_are_never_allowed() {
        assert_all(
            Reach::Never,
            &[
                // Unspecified, this network.
                "0.0.0.0",
                "0.1.2.3",
                "::",
                // Link-local, and metadata on it.
                "169.254.0.1",
                "169.254.169.254",
                "169.254.170.2",
                "fe80::1",
                "febf::1",
                "fe80::a9fe:a9fe",
                // Metadata elsewhere.
                "100.100.100.200",
                "168.63.129.16",
                "192.0.0.192",
                "fd00:ec2::254",
                "fd20:ce::254",
                "::ffff:169.254.169.254",
                "::ffff:168.63.129.16",
                "64:ff9b::169.254.169.254",
                // Multicast, reserved, broadcast.
                "224.0.0.1",
                "239.255.255.255",
                "240.0.0.1",
                "255.255.255.255",
                "ff02::1",
                "ff0e::1",
                // Documentation and benchmarks.
                "192.0.2.1",
                "198.51.100.7",
                "203.0.113.255",
                "198.18.0.1",
                "198.19.255.255",
                "2001:db8::1",
                "3fff::1",
                "2001:2::1",
                // Forms that hide another address: IPv4-compatible, 6to4, Teredo, NAT64 of one network.
                "::127.0.0.1",
                "::8.8.8.8",
                "2002:7f00:1::1",
                "2002:a00:1::",
                "2002:808:808::1",
                "2001::1",
                "64:ff9b:1::8.8.8.8",
                "64:ff9b:0:0:1::1",
                // Protocol assignments, site-local, discard-only, segment routing, the relay of 6to4.
                "192.0.0.8",
                "fec0::1",
                "100::1",
                "5f00::1",
                "192.88.99.1",
                "4000::1",
            ],
        );
    }
}
