//! Names of hosts, as the operating system knows them; and those below `localhost`, which mean this device wherever they are asked for
//! (RFC 6761), also where the operating system does not know that: a local S3 server with the bucket before its name.

use std::net::{Ipv4Addr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

#[derive(Debug)]
pub(super) struct Resolver;

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            // The port is put in by who connects.
            if is_here(name.as_str()) {
                let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
                return Ok(Box::new(std::iter::once(here)) as Addrs);
            }
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            Ok(Box::new(found.collect::<Vec<_>>().into_iter()) as Addrs)
        })
    }
}

fn is_here(name: &str) -> bool {
    name.trim_end_matches('.')
        .to_ascii_lowercase()
        .ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_below_localhost_are_known_without_asking() {
        for (name, here) in [
            ("bucket.localhost", true),
            ("a.b.LOCALHOST.", true),
            ("localhost", false),
            ("mylocalhost", false),
            ("localhost.example", false),
        ] {
            assert_eq!(is_here(name), here, "{name}");
        }
    }
}
