//! Buffers that serve again. A backup or a restore moves gigabytes through memory in pieces that one thread fills and another lets go of;
//! left to an allocator, each costs the pages that it is made of anew, or stays with one thread after the other.

use std::sync::{Arc, Mutex, PoisonError};

/// What is shorter is left to the allocator.
const BYTES_MIN: usize = 256 << 10;

/// Buffers for one run, shared by its threads. One that is never given back is not missed.
#[derive(Clone, Default)]
pub(crate) struct Buffers(Arc<[Class]>);

/// Buffers of one length.
struct Class {
    count: usize,
    bytes: usize,
    idle: Mutex<Vec<Vec<u8>>>,
}

impl Buffers {
    /// So many buffers of so many bytes, for some lengths in ascending order. They take no memory before they are written to. The default
    /// has none.
    pub(crate) fn new(classes: &[(usize, usize)]) -> Self {
        let class = |&(count, bytes): &(usize, usize)| Class {
            count,
            bytes,
            idle: Mutex::new((0..count).map(|_| Vec::with_capacity(bytes)).collect()),
        };
        Self(classes.iter().map(class).collect())
    }

    /// An empty buffer with room for so many bytes: the one that was used last, or a new one where none is idle or long enough.
    pub(crate) fn take(&self, bytes: usize) -> Vec<u8> {
        let class = self.0.iter().find(|class| bytes <= class.bytes);
        let Some(Class { bytes, idle, .. }) = class.filter(|_| bytes >= BYTES_MIN) else {
            return Vec::with_capacity(bytes);
        };
        let last = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        last.unwrap_or_else(|| Vec::with_capacity(*bytes))
    }

    /// Takes a buffer back, wherever it came from.
    pub(crate) fn give(&self, mut buffer: Vec<u8>) {
        // One that is much longer was for something rare, and would hold its memory to the end of the run.
        let fits = |class: &&Class| (class.bytes..2 * class.bytes).contains(&buffer.capacity());
        let class = self.0.iter().rfind(fits);
        let Some(Class { count, idle, .. }) = class else {
            return;
        };
        buffer.clear();
        let mut idle = idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < *count {
            idle.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIB: usize = 1 << 20;

    #[test]
    fn a_buffer_serves_again() {
        let buffers = Buffers::new(&[(2, MIB)]);
        let mut first = buffers.take(MIB / 2);
        first.push(1);
        let address = first.as_ptr();
        buffers.give(first);
        let again = buffers.take(MIB);
        assert!(again.is_empty());
        assert_eq!(again.as_ptr(), address);
    }

    proptest! {
        #[test]
        fn no_more_are_kept_than_there_were(lengths in prop::collection::vec(0..6 * MIB, 1..60), count in 0..6_usize) {
            let buffers = Buffers::new(&[(count, MIB), (2, 2 * MIB)]);
            let mut used: Vec<Vec<u8>> = Vec::new();
            for length in lengths {
                let buffer = buffers.take(length);
                prop_assert!(buffer.is_empty() && buffer.capacity() >= length);
                used.push(buffer);
                if used.len() > 4 {
                    buffers.give(used.remove(length % 4));
                }
                for class in &*buffers.0 {
                    let idle = class.idle.lock().unwrap();
                    prop_assert!(idle.len() <= class.count);
                    prop_assert!(idle.iter().all(|buffer| (class.bytes..2 * class.bytes).contains(&buffer.capacity())));
                }
            }
        }
    }
}
