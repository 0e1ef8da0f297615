//! A least speed: who trickles holds a place as long as who is fast holds a thousand.

use std::pin::Pin;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::{Sleep, sleep};

/// Time over which speed is measured. What is done within the first such time is not measured: heads, handshakes and a moment
/// without a network fit into it.
pub(crate) const WINDOW: Duration = Duration::from_mins(1);
/// Bytes in that time, at least: 1 KiB a second. A modem of the nineties has four times as much.
pub(crate) const LEAST: usize = 60 * 1024;

/// Measures one transfer.
#[derive(Debug)]
pub(crate) struct Pace {
    window: Pin<Box<Sleep>>,
    bytes: usize,
}

impl Pace {
    /// The transfer begins.
    pub(crate) fn new() -> Self {
        Self { window: Box::pin(sleep(WINDOW)), bytes: 0 }
    }

    /// Counts bytes; `false` if there were too few in the time that has just ended.
    pub(crate) fn holds(&mut self, bytes: usize) -> bool {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.window.as_mut().now_or_never().is_none() {
            return true;
        }
        let enough = self.bytes >= LEAST;
        *self = Self::new();
        enough
    }

    /// When the time that is measured ends, at which to ask [`Self::holds`].
    pub(crate) fn window(&mut self) -> Pin<&mut Sleep> {
        self.window.as_mut()
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_is_fast_enough_goes_on_and_who_trickles_does_not() {
        let second = Duration::from_secs(1);
        let mut pace = Pace::new();
        for _ in 0..600 {
            assert!(pace.holds(LEAST / 59));
            advance(second).await;
        }
        let mut pace = Pace::new();
        let mut seconds = 0;
        while pace.holds(1_000) {
            advance(second).await;
            seconds += 1;
        }
        assert_eq!(seconds, 60);
    }

    #[tokio::test(start_paused = true)]
    async fn a_fast_start_does_not_pay_for_what_follows() {
        let mut pace = Pace::new();
        assert!(pace.holds(100 * LEAST));
        advance(WINDOW).await;
        assert!(pace.holds(1));
        advance(WINDOW).await;
        assert!(!pace.holds(1));
    }
}
