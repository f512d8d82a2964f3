//! What every module may ask of its surroundings: the time, randomness, and a safe box for secrets.
//!
//! All of it is injected, so that a test can freeze the clock and seed the dice. This is the only
//! module that may call the operating system's clock and random source (`clippy.toml` bans them
//! elsewhere).

use std::fmt;
use std::ops::{Add, Sub};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// A point in time: whole seconds since the Unix epoch, the unit of every time on the wire
/// (JWT `NumericDate`, `entry_time`, `issue_time`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The instant `seconds` after the Unix epoch.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds)
    }

    /// Seconds since the Unix epoch.
    pub const fn as_secs(self) -> u64 {
        self.0
    }

    /// Time from `earlier` to `self`; zero when `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_secs(self.0.saturating_sub(earlier.0))
    }

    /// The second that an RFC 3339 text such as `2026-12-01T09:00:00.5+01:00` lies in; `None` for any other text, and
    /// before 1970.
    pub fn from_rfc3339(text: &str) -> Option<Self> {
        let (date, time) = text.split_once(['T', 't', ' '])?;
        let zone = time.find(['Z', 'z', '+', '-'])?;
        let (time, zone) = time.split_at(zone);
        let [year, month, day] = numbers(date, '-', [9999, 12, 31])?;
        let [hour, minute, second] = numbers(time.split('.').next()?, ':', [23, 59, 60])?;
        let offset = match zone.split_at(1) {
            ("Z" | "z", "") => 0,
            (sign, offset) => {
                let [hours, minutes] = numbers(offset, ':', [23, 59])?;
                let seconds = hours * 3600 + minutes * 60;
                if sign == "-" { -seconds } else { seconds }
            }
        };
        let seconds = days_since_epoch(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset;
        u64::try_from(seconds).ok().map(Self)
    }

    /// The second that a date of HTTP such as `Wed, 25 Nov 2026 12:00:00 GMT` names (RFC 9110 §5.6.7, in the form that
    /// senders must use); `None` for any other text.
    pub fn from_http_date(text: &str) -> Option<Self> {
        const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        let words: Vec<_> = text.split_once(", ")?.1.split(' ').collect();
        let &[day, month, year, time, "GMT"] = words.as_slice() else { return None };
        let month = MONTHS.iter().position(|name| *name == month)? + 1;
        Self::from_rfc3339(&format!("{year}-{month:02}-{day}T{time}Z"))
    }

    /// As RFC 3339 writes it: `2026-12-01T09:00:00Z`.
    pub fn rfc3339(self) -> String {
        self.to_string().replacen(' ', "T", 1).replace(" UTC", "Z")
    }
}

/// As people read it, in UTC: `2026-12-01 09:00:00 UTC`.
impl fmt::Display for Timestamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DAY: u64 = 24 * 3600;
        let (year, month, day) = civil_date(self.0 / DAY);
        let (hour, minute, second) = (self.0 % DAY / 3600, self.0 % 3600 / 60, self.0 % 60);
        write!(formatter, "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
    }
}

/// The numbers of `text` between `separator`s, each in digits alone and no larger than its bound.
fn numbers<const N: usize>(text: &str, separator: char, bounds: [i64; N]) -> Option<[i64; N]> {
    let mut parts = text.split(separator);
    let mut found = [0; N];
    for (number, bound) in found.iter_mut().zip(bounds) {
        let digits = parts.next().filter(|part| part.bytes().all(|byte| byte.is_ascii_digit()))?;
        *number = digits.parse().ok().filter(|number| *number <= bound)?;
    }
    parts.next().is_none().then_some(found)
}

/// Days from 1970-01-01 in the Gregorian calendar. The year is counted from March, so that the leap day is its
/// last and month lengths repeat: 153 days in every five months.
const fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month < 3 { (year - 1, month + 9) } else { (year, month - 3) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    // 719 468 days lie between 0000-03-01 and 1970-01-01.
    year * 365 + leap_days + day_of_year - 719_468
}

/// Year, month and day of the Gregorian calendar, `days` after 1970-01-01. Counted from the first of March of year 0,
/// so that a leap day is the last of its year, in cycles of 400 years (Richards, *Mapping Time*, 1998, ch. 25).
const fn civil_date(days: u64) -> (u64, u64, u64) {
    const CYCLE: u64 = 146_097;
    let days = days + 719_468;
    let (cycle, of_cycle) = (days / CYCLE, days % CYCLE);
    let year = (of_cycle - of_cycle / 1460 + of_cycle / 36_524 - of_cycle / 146_096) / 365;
    let of_year = of_cycle - (365 * year + year / 4 - year / 100);
    let march_based = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_based + 2) / 5 + 1;
    let month = if march_based < 10 { march_based + 3 } else { march_based - 9 };
    (cycle * 400 + year + (month <= 2) as u64, month, day)
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration.as_secs()))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(duration.as_secs()))
    }
}

/// Where "now" comes from.
pub trait Clock: Send + Sync + 'static {
    /// The current time.
    fn now(&self) -> Timestamp;

    /// How much time has passed since some moment in the past. It never goes back, and no step of the clock changes it.
    fn steady(&self) -> Duration;
}

/// What [`SystemClock`] counts steady time from.
#[expect(clippy::disallowed_methods, reason = "the one place where the machine's clock is read")]
static BEGINNING: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The clock of the machine.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place where the machine's clock is read")]
    fn now(&self) -> Timestamp {
        let elapsed = SystemTime::now().duration_since(UNIX_EPOCH);
        Timestamp(elapsed.map_or(0, |duration| duration.as_secs()))
    }

    fn steady(&self) -> Duration {
        BEGINNING.elapsed()
    }
}

/// A clock that stands still until it is told to move: for tests.
#[derive(Debug)]
pub struct FrozenClock {
    shown: AtomicU64,
    passed: AtomicU64,
}

impl FrozenClock {
    /// A clock that shows `now`.
    pub const fn at(now: Timestamp) -> Self {
        Self { shown: AtomicU64::new(now.0), passed: AtomicU64::new(0) }
    }

    /// Moves the clock forward: time passes.
    pub fn advance(&self, by: Duration) {
        // In this order, so that nobody who looks in between takes it for a step of the clock.
        self.passed.fetch_add(by.as_secs(), Ordering::SeqCst);
        self.shown.fetch_add(by.as_secs(), Ordering::SeqCst);
    }

    /// Sets the clock, backwards too: no time passes.
    pub fn set(&self, now: Timestamp) {
        self.shown.store(now.0, Ordering::SeqCst);
    }
}

impl Clock for FrozenClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.shown.load(Ordering::SeqCst))
    }

    fn steady(&self) -> Duration {
        Duration::from_secs(self.passed.load(Ordering::SeqCst))
    }
}

/// Where unpredictable bytes come from.
pub trait Entropy: Send + Sync + 'static {
    /// Fills `buffer` with unpredictable bytes.
    fn fill(&self, buffer: &mut [u8]);
}

/// Draws `N` unpredictable bytes.
pub fn random<const N: usize>(entropy: &dyn Entropy) -> [u8; N] {
    let mut bytes = [0; N];
    entropy.fill(&mut bytes);
    bytes
}

/// The operating system's random source.
#[derive(Debug, Default, Clone, Copy)]
pub struct OsEntropy;

impl Entropy for OsEntropy {
    #[expect(clippy::disallowed_methods, reason = "the one place where the machine's random source is read")]
    #[expect(clippy::expect_used, reason = "a machine without randomness cannot issue tickets, codes or keys")]
    fn fill(&self, buffer: &mut [u8]) {
        getrandom::fill(buffer).expect("the operating system provides randomness");
    }
}

/// Reproducible bytes (SplitMix64): for tests only, it protects nothing.
#[derive(Debug)]
pub struct SeededEntropy(AtomicU64);

impl SeededEntropy {
    /// The sequence that `seed` determines.
    pub const fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        const GOLDEN_GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;
        for chunk in buffer.chunks_mut(8) {
            let mut word = self.0.fetch_add(GOLDEN_GAMMA, Ordering::SeqCst).wrapping_add(GOLDEN_GAMMA);
            word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            word ^= word >> 31;
            chunk.copy_from_slice(&word.to_le_bytes()[..chunk.len()]);
        }
    }
}

/// A secret: shown as `[secret]`, compared in constant time, wiped from memory when dropped.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the bytes of a secret.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(Zeroizing::new(bytes.into()))
    }

    /// The secret itself; never for a log or an answer.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Whether `candidate` is this secret, in time that depends on the candidate's length alone.
    pub fn matches(&self, candidate: &[u8]) -> bool {
        self.0.ct_eq(candidate).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[secret]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_reads_as_its_date_in_utc() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (1_078_099_200, "2004-03-01 00:00:00 UTC"),
            (1_800_000_000, "2027-01-15 08:00:00 UTC"),
            (4_107_542_399, "2100-02-28 23:59:59 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
        ] {
            assert_eq!(Timestamp::from_secs(seconds).to_string(), text);
        }
        assert!(Timestamp::from_secs(u64::MAX).to_string().ends_with(" UTC"));
    }

    #[test]
    fn a_time_is_written_for_programs_as_rfc_3339_says() {
        assert_eq!(Timestamp::from_secs(1_800_000_000).rfc3339(), "2027-01-15T08:00:00Z");
    }

    #[test]
    fn dates_count_from_the_epoch_with_their_offset() {
        let cases = [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2000-02-29T12:00:00.999Z", Some(951_825_600)),
            ("2026-12-01T09:00:00+01:00", Some(1_796_112_000)),
            ("2026-11-30 23:30:00-05:30", Some(1_796_101_200)),
            ("1969-12-31T23:59:59Z", None),
            ("2026-12-01T09:00:00", None),
            ("2026-12-01", None),
            ("2026-13-01T00:00:00Z", None),
            ("2026-12-01T24:00:00Z", None),
            ("2026-12-01T09:00Z", None),
            ("2026-12-01T09:00:00Zulu", None),
            ("2026-+2-01T09:00:00Z", None),
            ("", None),
        ];
        for (text, seconds) in cases {
            assert_eq!(Timestamp::from_rfc3339(text).map(Timestamp::as_secs), seconds, "{text}");
        }
    }

    #[test]
    fn a_secret_is_never_shown() {
        assert_eq!(format!("{:?}", Secret::new("open sesame")), "[secret]");
    }

    #[test]
    fn a_secret_matches_itself_alone() {
        let secret = Secret::new("open sesame");
        assert!(secret.matches(b"open sesame"));
        assert!(!secret.matches(b"open sesam"));
        assert!(!secret.matches(b"open sesamE"));
    }

    #[test]
    fn seeded_entropy_repeats_itself_and_never_stands_still() {
        let (one, other) = (SeededEntropy::new(7), SeededEntropy::new(7));
        let first: [u8; 32] = random(&one);
        assert_eq!(first, random::<32>(&other));
        assert_ne!(first, random::<32>(&one));
    }

    #[test]
    fn a_date_of_http_names_a_second() {
        let read = |text| Timestamp::from_http_date(text).map(Timestamp::rfc3339);
        assert_eq!(read("Wed, 25 Nov 2026 12:00:09 GMT").as_deref(), Some("2026-11-25T12:00:09Z"));
        for bad in [
            "",
            "Wed, 25 Nov 2026 12:00:09",
            "Wed, 25 Nov 2026 12:00:09 UTC",
            "Wed, 25 Nov 2026 12:00:09+01:00 GMT",
            "Wed, 25 Foo 2026 12:00:09 GMT",
            "Wed, 32 Nov 2026 12:00:09 GMT",
            "Wed, 25 Nov 2026 12:61:09 GMT",
            "25 Nov 2026 12:00:09 GMT",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
