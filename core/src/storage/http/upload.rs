//! The body of a request that counts what it hands over: a spooled pack is read piece by piece, and never in memory whole.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use http_body::{Frame, SizeHint};
use tokio::{
    fs::File,
    io::{AsyncRead, ReadBuf},
};

use crate::{
    error::{Error, Place, Result},
    limits,
    storage::Body,
};

/// Bytes that a request has moved, either way. What watches it sees whether it still moves.
#[derive(Debug, Default)]
pub(super) struct Moved {
    sent: AtomicU64,
    received: AtomicU64,
}

impl Moved {
    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    pub(super) fn total(&self) -> u64 {
        self.sent() + self.received.load(Ordering::Relaxed)
    }

    pub(super) fn receive(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// Exactly as many bytes as it says, or an error.
pub(super) struct Upload {
    source: Source,
    left: u64,
    moved: Arc<Moved>,
}

enum Source {
    Bytes(Bytes),
    File { file: File, buffer: BytesMut },
}

impl Upload {
    pub(super) async fn open(body: &Body, moved: Arc<Moved>) -> Result<Self> {
        let source = match body {
            Body::Bytes(bytes) => Source::Bytes(Bytes::from_owner(bytes.clone())),
            Body::File { path, .. } => {
                let file = File::open(path).await;
                let file = file.map_err(|error| Error::io(Place::State, "reading", path, error))?;
                let buffer = BytesMut::new();
                Source::File { file, buffer }
            }
        };
        Ok(Self {
            source,
            left: body.size(),
            moved,
        })
    }

    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        let most = limits::UPLOAD_CHUNK_BYTES.min(usize::try_from(self.left).unwrap_or(usize::MAX));
        match &mut self.source {
            Source::Bytes(bytes) => Poll::Ready(Ok(bytes.split_to(most.min(bytes.len())))),
            Source::File { file, buffer } => {
                buffer.resize(most, 0);
                let mut room = ReadBuf::new(buffer);
                ready!(Pin::new(file).poll_read(context, &mut room))?;
                let read = room.filled().len();
                Poll::Ready(Ok(buffer.split_to(read).freeze()))
            }
        }
    }
}

impl http_body::Body for Upload {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let piece = ready!(self.poll_piece(context))?;
        if piece.is_empty() {
            let text = format!("what is to be sent ended {} bytes early", self.left);
            return Poll::Ready(Some(Err(io::Error::other(text))));
        }
        self.left -= piece.len() as u64;
        self.moved.sent.fetch_add(piece.len() as u64, Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, io::Write};

    use http_body::Body as _;

    use super::*;

    async fn all(upload: Upload) -> io::Result<(Vec<u8>, usize)> {
        let (mut upload, mut bytes, mut longest) = (Box::pin(upload), vec![], 0);
        while let Some(frame) = poll_fn(|context| upload.as_mut().poll_frame(context)).await {
            let piece = frame?.into_data().unwrap();
            longest = longest.max(piece.len());
            bytes.extend_from_slice(&piece);
        }
        Ok((bytes, longest))
    }

    #[tokio::test]
    async fn a_file_goes_in_pieces_and_its_size_is_kept() {
        let content: Vec<u8> = (0..200_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&content).unwrap();
        let sized = |size| Body::File {
            path: file.path().to_owned(),
            size,
        };
        let moved = Arc::new(Moved::default());
        let upload = Upload::open(&sized(200_000), moved.clone()).await.unwrap();
        assert_eq!(upload.size_hint().exact(), Some(200_000));
        let (sent, longest) = all(upload).await.unwrap();
        assert!(
            sent == content && longest <= limits::UPLOAD_CHUNK_BYTES,
            "{longest}"
        );
        assert_eq!((moved.sent(), moved.total()), (200_000, 200_000));
        // A file that is longer now sends what was promised, a shorter one fails.
        let short = Upload::open(&sized(1000), moved.clone()).await.unwrap();
        assert_eq!(all(short).await.unwrap().0, content[..1000]);
        let long = Upload::open(&sized(200_001), moved).await.unwrap();
        assert!(all(long).await.unwrap_err().to_string().contains("1 bytes early"));
    }
}
