//! Networks that are not public, each with the document that reserves it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

/// What an address is reserved for; `None` if it is public.
pub fn reserved_for(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => {
            V4.iter().find(|(network, _)| network.contains(&address)).map(|(_, reserved_for)| *reserved_for)
        }
        IpAddr::V6(address) => {
            let found = V6.iter().find(|(network, _)| network.contains(&address));
            let not_global = (!GLOBAL_UNICAST.contains(&address)).then_some("outside of 2000::/3, RFC 4291");
            let isatap = is_isatap(address).then_some("ISATAP, RFC 5214");
            found.map(|(_, reserved_for)| *reserved_for).or(not_global).or(isatap)
        }
    }
}

/// Whether the last 64 bits are `0000:5efe` or, where the IPv4 address is unique in the world, `0200:5efe`, and then an IPv4 address.
/// The first 64 bits are those of any network.
const fn is_isatap(address: Ipv6Addr) -> bool {
    let [_, _, _, _, fifth, sixth, _, _] = address.segments();
    matches!(fifth, 0 | 0x200) && sixth == 0x5efe
}

const fn v4(a: u8, b: u8, c: u8, d: u8, length: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length)
}

const fn v6(first: u16, second: u16, third: u16, length: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(first, second, third, 0, 0, 0, 0, 0), length)
}

/// The last 32 bits are an address, after `sixth` as the 16 bits before them.
const fn embedded(sixth: u16) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(0, 0, 0, 0, 0, sixth, 0, 0), 96)
}

const V4: &[(Ipv4Net, &str)] = &[
    (v4(0, 0, 0, 0, 8), "this network, RFC 791"),
    (v4(10, 0, 0, 0, 8), "private, RFC 1918"),
    (v4(100, 64, 0, 0, 10), "shared by the customers of a provider, RFC 6598"),
    (v4(127, 0, 0, 0, 8), "this machine, RFC 1122"),
    (v4(168, 63, 129, 16, 32), "metadata of Azure"),
    (v4(169, 254, 0, 0, 16), "link-local, metadata of clouds, RFC 3927"),
    (v4(172, 16, 0, 0, 12), "private, RFC 1918"),
    (v4(192, 0, 0, 0, 24), "protocol assignments, RFC 6890"),
    (v4(192, 0, 2, 0, 24), "documentation, RFC 5737"),
    (v4(192, 88, 99, 0, 24), "relays of 6to4, RFC 7526"),
    (v4(192, 168, 0, 0, 16), "private, RFC 1918"),
    (v4(198, 18, 0, 0, 15), "benchmarks, RFC 2544"),
    (v4(198, 51, 100, 0, 24), "documentation, RFC 5737"),
    (v4(203, 0, 113, 0, 24), "documentation, RFC 5737"),
    (v4(224, 0, 0, 0, 4), "multicast, RFC 5771"),
    (v4(240, 0, 0, 0, 4), "future use and broadcast, RFC 1112"),
];

/// Everything that is public in IPv6, apart from the networks of [`V6`] within.
const GLOBAL_UNICAST: Ipv6Net = v6(0x2000, 0, 0, 3);

/// `::` and `::1` are in the network of IPv4-compatible addresses, so they come before.
const V6: &[(Ipv6Net, &str)] = &[
    (Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 128), "no address, RFC 4291"),
    (Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128), "this machine, RFC 4291"),
    (embedded(0), "IPv4-compatible, RFC 4291"),
    (embedded(0xffff), "IPv4-mapped, RFC 4291"),
    (v6(0x64, 0xff9b, 0, 96), "translation to IPv4, RFC 6052"),
    (v6(0x64, 0xff9b, 1, 48), "local translation to IPv4, RFC 8215"),
    (v6(0x100, 0, 0, 64), "discarded, RFC 6666"),
    (v6(0x2001, 0, 0, 32), "Teredo, RFC 4380"),
    (v6(0x2001, 0, 0, 23), "protocol assignments, RFC 2928"),
    (v6(0x2001, 0xdb8, 0, 32), "documentation, RFC 3849"),
    (v6(0x2002, 0, 0, 16), "6to4, RFC 3056"),
    (v6(0x3fff, 0, 0, 20), "documentation, RFC 9637"),
    (v6(0x5f00, 0, 0, 16), "segment routing, RFC 9602"),
    (v6(0xfc00, 0, 0, 7), "unique local, RFC 4193"),
    (v6(0xfe80, 0, 0, 10), "link-local, RFC 4291"),
    (v6(0xfec0, 0, 0, 10), "site-local, RFC 3879"),
    (v6(0xff00, 0, 0, 8), "multicast, RFC 4291"),
];
