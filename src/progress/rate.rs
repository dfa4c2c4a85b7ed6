//! How fast the work is: smoothed, so that what is left of it does not jump.

use std::time::Duration;

/// So much time counts: what was longer ago is forgotten exponentially.
const MEMORY: Duration = Duration::from_secs(10);
/// Nanoseconds.
const SECOND: u128 = 1_000_000_000;

/// A low-pass filter over the speed. Until its memory is full it is the mean of all.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rate {
    at: Duration,
    bytes: u64,
    /// Bytes in a second, times [`Self::FINE`].
    fine: u128,
}

impl Rate {
    /// Fractions of bytes, so that slow work is not rounded to none.
    const FINE: u128 = 1 << 16;

    /// Takes note of how many bytes were done at a time since the beginning.
    pub fn record(&mut self, at: Duration, bytes: u64) {
        let passed = at.saturating_sub(self.at).as_nanos();
        let span = at.min(MEMORY).as_nanos().max(passed);
        if passed == 0 {
            return;
        }
        let more = u128::from(bytes.saturating_sub(self.bytes)) * SECOND * Self::FINE;
        self.fine = (self.fine * (span - passed) + more) / span;
        (self.at, self.bytes) = (at, bytes);
    }

    /// Bytes in a second.
    pub fn per_second(&self) -> u64 {
        u64::try_from(self.fine / Self::FINE).unwrap_or(u64::MAX)
    }

    /// How long so many bytes take; nothing as long as nobody knows.
    pub fn time_for(&self, bytes: u64) -> Option<Duration> {
        let seconds = (u128::from(bytes) * Self::FINE).div_ceil(Some(self.fine).filter(|&fine| fine > 0)?);
        u64::try_from(seconds).ok().map(Duration::from_secs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_millis(100);

    /// Records a speed in bytes a tick for some ticks.
    fn go(rate: &mut Rate, ticks: u32, bytes: u64) {
        for _ in 0..ticks {
            rate.record(rate.at + TICK, rate.bytes + bytes);
        }
    }

    #[test]
    fn the_same_speed_all_the_time_is_the_speed() {
        let mut rate = Rate::default();
        assert_eq!((rate.per_second(), rate.time_for(1)), (0, None));
        for ticks in [1, 5, 50, 1000] {
            go(&mut rate, ticks, 700);
            assert_eq!(rate.per_second().div_ceil(10), 700, "{ticks}");
        }
        assert_eq!(rate.time_for(70_000), Some(Duration::from_secs(10)));
    }

    #[test]
    fn a_moment_without_work_changes_little_and_a_long_one_much() {
        let mut rate = Rate::default();
        go(&mut rate, 200, 1000);
        go(&mut rate, 5, 0);
        assert!((9_400..9_700).contains(&rate.per_second()), "{rate:?}");
        // What is left takes longer and longer where nothing is done.
        let before = rate.time_for(1_000_000).unwrap();
        go(&mut rate, 300, 0);
        assert!(rate.time_for(1_000_000).unwrap() > before * 10, "{rate:?}");
    }

    #[test]
    fn another_speed_is_known_after_some_time_only() {
        let mut rate = Rate::default();
        go(&mut rate, 200, 1000);
        go(&mut rate, 10, 3000);
        assert!((11_000..13_000).contains(&rate.per_second()), "{rate:?}");
        go(&mut rate, 600, 3000);
        assert!((29_900..=30_000).contains(&rate.per_second()), "{rate:?}");
    }

    #[test]
    fn the_first_second_counts_as_it_is() {
        // Nothing at first, as where a file is opened: the mean since the beginning, not half of a guess.
        let mut rate = Rate::default();
        go(&mut rate, 5, 0);
        go(&mut rate, 5, 2000);
        assert_eq!(rate.per_second().div_ceil(10), 1000);
    }

    #[test]
    fn no_number_is_too_large() {
        let mut rate = Rate::default();
        rate.record(Duration::from_nanos(1), u64::MAX);
        assert_eq!(rate.per_second(), u64::MAX);
        rate.record(Duration::from_secs(u64::MAX / 4), u64::MAX);
        let _ = rate.time_for(u64::MAX);
    }
}
