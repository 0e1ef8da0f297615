//! A connection whose other side must take what it is sent, and not by drops.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::pace::Pace;

/// A connection that is given up when the other side takes nothing for a while, or too little over a longer one.
pub(crate) struct Patient<S> {
    stream: S,
    patience: Duration,
    /// Since when it takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
    /// How much it takes, since something was left over.
    pace: Option<Pace>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Patient<S> {
    pub(crate) fn new(stream: S, patience: Duration) -> Self {
        Self { stream, patience, stalled: None, pace: None }
    }

    fn write(
        &mut self,
        context: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut S>, &mut Context<'_>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let late = || Err(io::ErrorKind::TimedOut.into());
        let written = write(Pin::new(&mut self.stream), context);
        if let Poll::Ready(Ok(count)) = written
            && self.pace.as_mut().is_some_and(|pace| !pace.holds(count))
        {
            return Poll::Ready(late());
        }
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let pace = self.pace.get_or_insert_with(Pace::new);
        if !pace.holds(0) {
            return Poll::Ready(late());
        }
        // Wakes this task when there is something to judge.
        let _ = pace.window().poll(context);
        let patience = self.patience;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(patience)));
        stalled.as_mut().poll(context).map(|()| late())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.write(context, |stream, context| stream.poll_write(context, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.write(context, |stream, context| stream.poll_write_vectored(context, slices))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Asked for when nothing is left over: from here on, whatever takes its time is on this side.
        self.pace = None;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    /// Sends 10 MB to somebody who takes so many bytes, and then waits; how long that lasts.
    async fn sent(bytes: usize, wait: Duration) -> (io::Result<()>, u64) {
        let (near, mut far) = duplex(4_096);
        let mut near = Patient::new(near, Duration::from_secs(30));
        let reader = tokio::spawn(async move {
            let mut buffer = vec![0; bytes];
            let mut waits = 0;
            while far.read_exact(&mut buffer).await.is_ok() {
                waits += 1;
                sleep(wait).await;
            }
            waits
        });
        let sent = near.write_all(&vec![0; 10_000_000]).await;
        drop(near);
        (sent, reader.await.unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_drops_is_given_up_after_a_minute() {
        let (sent, waits) = sent(100, Duration::from_secs(1)).await;
        assert_eq!(sent.unwrap_err().kind(), io::ErrorKind::TimedOut);
        // What lies in between is still taken.
        assert!((60..=102).contains(&waits), "{waits}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_is_given_up_sooner() {
        let (sent, waits) = sent(4_096, Duration::from_hours(1)).await;
        assert_eq!((sent.unwrap_err().kind(), waits), (io::ErrorKind::TimedOut, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_slow_and_steady_gets_everything() {
        let (sent, waits) = sent(2_000, Duration::from_secs(1)).await;
        assert!(sent.is_ok());
        assert_eq!(waits, 5_000);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_of_this_side_is_not_held_against_the_other() {
        let (near, mut far) = duplex(4_096);
        let mut near = Patient::new(near, Duration::from_secs(30));
        let reader = tokio::spawn(async move { far.read_to_end(&mut Vec::new()).await });
        for _ in 0..5 {
            near.write_all(&[0; 10_000]).await.unwrap();
            near.flush().await.unwrap();
            sleep(Duration::from_mins(5)).await;
        }
        drop(near);
        assert_eq!(reader.await.unwrap().unwrap(), 50_000);
    }
}
