//! Large files: up in parts, down as a stream.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context as Waker, Poll, ready};

use futures_util::Stream;
use futures_util::stream::BoxStream;
use object_store::{
    Attribute, Attributes, GetOptions, GetRange, MultipartUpload, ObjectStore as _, PutMultipartOptions,
};
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};

use super::ObjectStore;
use super::fault::{Context, fault_of};
use super::write::content_type;
use crate::store::{Fault, StoreError, StorePath};

/// Bytes of one part: S3 wants at least 5 MiB, and takes 10,000 of them.
const PART: u64 = 16 << 20;

impl ObjectStore {
    /// Uploads a file in parts, one after another. It appears whole, with the last answer.
    pub(super) async fn upload_parts(&self, path: &StorePath, file: &Path) -> Result<(), StoreError> {
        let failed = |error| StoreError::io("read", file.display(), &error);
        let mut opened = File::open(file).await.map_err(failed)?;
        let context = Context { what: "write", path: path.as_str() };
        let attributes = Attributes::from_iter([(Attribute::ContentType, content_type(path))]);
        let options = PutMultipartOptions { attributes, ..PutMultipartOptions::default() };
        let upload = self.inner.reads.put_multipart_opts(&self.key(path.as_str())?, options).await;
        let mut upload = upload.map_err(|error| context.error(&error))?;
        loop {
            let mut part = Vec::new();
            let read = (&mut opened).take(PART).read_to_end(&mut part).await;
            let sent = match read {
                Ok(0) => break,
                Ok(_) => upload.put_part(part.into()).await.map_err(|error| context.error(&error)),
                Err(error) => Err(failed(error)),
            };
            if let Err(error) = sent {
                abandon(&mut *upload).await;
                return Err(error);
            }
        }
        upload.complete().await.map(drop).map_err(|error| context.error(&error))
    }
}

impl ObjectStore {
    /// The object from byte `start` on, as a stream: by a request for that range alone.
    pub(super) async fn open_rest(
        &self,
        path: &StorePath,
        start: u64,
    ) -> Result<Option<Pin<Box<dyn AsyncRead + Send>>>, StoreError> {
        let range = Some(GetRange::Offset(start));
        let options = GetOptions { range, ..GetOptions::default() };
        match self.inner.reads.get_opts(&self.key(path.as_str())?, options).await {
            Ok(found) if found.range.start == start => Ok(Some(Box::pin(Reader::new(found.into_stream())))),
            Err(error) if fault_of(&error) == Fault::NoObject => Ok(None),
            // Servers refuse a range that begins behind the end, each with words of its own.
            outcome => match self.length(path).await? {
                None => Ok(None),
                Some(length) if length <= start => Ok(Some(Box::pin(tokio::io::empty()))),
                Some(_) => {
                    let context = Context { what: "read", path: path.as_str() };
                    let other =
                        || context.because(Fault::Failed, "the server sent another range than asked for");
                    Err(outcome.map_or_else(|error| context.error(&error), |_| other()))
                }
            },
        }
    }
}

/// What cannot be removed is left to the bucket's rules.
async fn abandon(upload: &mut dyn MultipartUpload) {
    drop(upload.abort().await);
}

/// A stream of pieces, read as a file is.
pub(super) struct Reader<B> {
    pieces: BoxStream<'static, object_store::Result<B>>,
    piece: Option<B>,
    /// Bytes of the piece that were read.
    read: usize,
}

impl<B> Reader<B> {
    pub(super) fn new(pieces: BoxStream<'static, object_store::Result<B>>) -> Self {
        Self { pieces, piece: None, read: 0 }
    }
}

impl<B: AsRef<[u8]> + Unpin> AsyncRead for Reader<B> {
    fn poll_read(
        self: Pin<&mut Self>,
        waker: &mut Waker<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            let rest =
                this.piece.as_ref().and_then(|piece| piece.as_ref().get(this.read..)).unwrap_or_default();
            if !rest.is_empty() {
                let count = rest.len().min(into.remaining());
                into.put_slice(rest.get(..count).unwrap_or_default());
                this.read += count;
                return Poll::Ready(Ok(()));
            }
            match ready!(Pin::new(&mut this.pieces).poll_next(waker)) {
                None => return Poll::Ready(Ok(())),
                Some(Ok(piece)) => (this.piece, this.read) = (Some(piece), 0),
                Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
            }
        }
    }
}
