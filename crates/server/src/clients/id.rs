//! The identity of a client.

use std::net::{IpAddr, Ipv6Addr};

use axum::http::HeaderMap;

/// A client: an address, or a key if the server has several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum ClientId {
    /// The peer's address; of an IPv6 address the first 64 bits, because one machine has all the others.
    Address(IpAddr),
    /// The index of the key in [`Config::api_keys`](crate::Config::api_keys).
    Key(usize),
}

impl ClientId {
    /// The client at `address`.
    pub(crate) fn of_address(address: IpAddr) -> Self {
        Self::Address(match address.to_canonical() {
            IpAddr::V6(address) => {
                let prefix = address.to_bits() & !u128::from(u64::MAX);
                IpAddr::V6(Ipv6Addr::from_bits(prefix))
            }
            address @ IpAddr::V4(_) => address,
        })
    }
}

/// The last address in `X-Forwarded-For`, which is the one that the nearest proxy added. The others are
/// what a client wrote.
pub(crate) fn forwarded(headers: &HeaderMap) -> Option<IpAddr> {
    let last = headers.get_all("x-forwarded-for").iter().next_back()?.to_str().ok()?;
    last.rsplit(',').next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(address: &str) -> ClientId {
        ClientId::of_address(address.parse().unwrap())
    }

    #[test]
    fn addresses_of_one_ipv6_network_and_both_forms_of_an_ipv4_address_are_one_client() {
        assert_eq!(client("2001:db8:1:2:3::4"), client("2001:db8:1:2:ffff::1"));
        assert_ne!(client("2001:db8:1:2::1"), client("2001:db8:1:3::1"));
        assert_eq!(client("::ffff:192.0.2.1"), client("192.0.2.1"));
        assert_ne!(client("192.0.2.1"), client("192.0.2.2"));
    }

    #[test]
    fn of_the_forwarded_addresses_only_the_proxys_own_counts() {
        let mut headers = HeaderMap::new();
        assert_eq!(forwarded(&headers), None);

        headers.append("x-forwarded-for", "198.51.100.7".parse().unwrap());
        headers.append("x-forwarded-for", "203.0.113.9, 192.0.2.1".parse().unwrap());
        assert_eq!(forwarded(&headers), Some("192.0.2.1".parse().unwrap()));

        headers.append("x-forwarded-for", "unknown".parse().unwrap());
        assert_eq!(forwarded(&headers), None);
    }
}
