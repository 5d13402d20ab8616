//! The number of files and sockets that the process may have open.

/// The number of descriptors that are no connections: files, the listener and the runtime's own.
const RESERVED: usize = 64;

/// Raises the limit of open files for `wanted` connections, as far as the system allows.
///
/// Returns the number of connections that can be open, at most `wanted`: with more, the system would refuse
/// the files of requests that are being answered.
pub(crate) fn for_connections(wanted: usize) -> usize {
    let connections =
        raise(wanted.saturating_add(RESERVED)).saturating_sub(RESERVED).clamp(1, wanted.max(1));
    if connections < wanted {
        tracing::warn!(
            connections,
            wanted,
            "the system's limit of open files allows fewer connections; `ulimit -n` raises it"
        );
    }
    connections
}

/// Raises the limit to `wanted` descriptors, and returns the limit.
#[cfg(unix)]
fn raise(wanted: usize) -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let limit = getrlimit(Resource::Nofile);
    let wanted = wanted as u64;
    let found = match limit.current {
        // No limit.
        None => wanted,
        Some(current) if current >= wanted => current,
        Some(current) => {
            let raised = limit.maximum.map_or(wanted, |maximum| maximum.min(wanted));
            let asked = Rlimit { current: Some(raised), maximum: limit.maximum };
            setrlimit(Resource::Nofile, asked).map_or(current, |()| raised)
        }
    };
    usize::try_from(found).unwrap_or(usize::MAX)
}

/// Other systems have no such limit.
#[cfg(not(unix))]
fn raise(wanted: usize) -> usize {
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_never_more_connections_than_descriptors() {
        assert_eq!(for_connections(10), 10);
        // More than any system allows.
        let most = for_connections(usize::MAX);
        assert!(most >= 1);
        #[cfg(target_os = "linux")]
        assert!(most < 1 << 40, "{most}");
        assert_eq!(for_connections(0), 1);
    }
}
