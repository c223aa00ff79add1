//! Plain bytes with room for the seal around them, so that what is stored raw is sealed where it lies.

use std::{
    io::{self, Read},
    ops::{Deref, DerefMut},
};

use crate::{
    format::{SEAL_IV_BYTES, SEAL_OVERHEAD},
    runtime::buffers::Buffers,
};

pub(crate) struct Plain(Vec<u8>);

impl Plain {
    /// Empty, with room for so many bytes.
    pub(crate) fn take(buffers: &Buffers, bytes: usize) -> Self {
        let mut buffer = buffers.take(bytes + SEAL_OVERHEAD);
        buffer.resize(SEAL_IV_BYTES, 0);
        Self(buffer)
    }

    pub(crate) fn copy(buffers: &Buffers, bytes: &[u8]) -> Self {
        let mut plain = Self::take(buffers, bytes.len());
        plain.0.extend_from_slice(bytes);
        plain
    }

    pub(crate) fn zeroed(buffers: &Buffers, bytes: usize) -> Self {
        let mut plain = Self::take(buffers, bytes);
        plain.0.resize(SEAL_IV_BYTES + bytes, 0);
        plain
    }

    pub(crate) fn read_to_end(&mut self, mut from: impl Read) -> io::Result<()> {
        from.read_to_end(&mut self.0).map(drop)
    }

    pub(crate) fn truncate(&mut self, bytes: usize) {
        self.0.truncate(SEAL_IV_BYTES + bytes);
    }

    /// The buffer, as [`MasterKey::seal_in_place`](crate::format::MasterKey::seal_in_place) wants it.
    pub(crate) fn into_buffer(self) -> Vec<u8> {
        self.0
    }
}

impl Deref for Plain {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0[SEAL_IV_BYTES..]
    }
}

impl DerefMut for Plain {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0[SEAL_IV_BYTES..]
    }
}
