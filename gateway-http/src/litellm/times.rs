//! Moments, as LiteLLM's routes write and take them.

use std::time::{Duration, SystemTime};

use prost_types::Timestamp;

const DAY: i64 = 86_400;
const FORM: &str = "must be a day or a moment, as in 2026-11-20 or 2026-11-20T08:00:00Z";

/// As RFC 3339.
pub(crate) fn text(time: Option<&Timestamp>) -> Option<String> {
    time.map(Timestamp::to_string)
}

/// So many seconds from now.
pub(crate) fn after(seconds: i64) -> Timestamp {
    SystemTime::now()
        .checked_add(Duration::from_secs(seconds.unsigned_abs()))
        .map_or_else(Timestamp::default, Into::into)
}

/// A moment.
pub(crate) fn moment(text: &str) -> Result<Timestamp, &'static str> {
    let text = text.trim();
    let read = |text: &str| text.parse::<Timestamp>().map_err(|_| FORM);
    // Without an offset it is UTC.
    if text.len() > 10 && !text.ends_with(['Z', 'z']) && !text[10.min(text.len())..].contains(['+', '-']) {
        return read(&format!("{text}Z"));
    }
    read(text)
}

/// The end of a span that is given by its last day or by the moment of its end.
pub(crate) fn end(text: &str) -> Result<Timestamp, &'static str> {
    let end = moment(text)?;
    let is_day = text.trim().len() <= 10;
    Ok(if is_day { Timestamp { seconds: end.seconds.saturating_add(DAY), ..end } } else { end })
}

/// The day of a moment, UTC: `2026-11-20`.
pub(crate) fn day(time: &Timestamp) -> String {
    let day = Timestamp { seconds: time.seconds.div_euclid(DAY) * DAY, nanos: 0 };
    day.to_string().chars().take(10).collect()
}

/// Milliseconds from one moment to another; 0 where clocks disagree about which was first.
pub(crate) fn ms_between(from: &Timestamp, to: &Timestamp) -> i64 {
    let ms = |time: &Timestamp| time.seconds.saturating_mul(1_000).saturating_add(i64::from(time.nanos / 1_000_000));
    ms(to).saturating_sub(ms(from)).max(0)
}

/// When an id was made that begins with a time (a UUIDv7).
pub(crate) fn of_id(id: &str) -> Option<Timestamp> {
    let hex: String = id.chars().filter(|c| *c != '-').collect();
    if hex.len() != 32 || hex.as_bytes().get(12) != Some(&b'7') {
        return None;
    }
    let ms = i64::from_str_radix(hex.get(..12)?, 16).ok()?;
    Some(Timestamp { seconds: ms / 1_000, nanos: i32::try_from(ms % 1_000 * 1_000_000).ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_moments_are_read_and_an_end_is_a_whole_day() {
        let midnight = moment("2026-11-20").unwrap();
        assert_eq!(text(Some(&midnight)).as_deref(), Some("2026-11-20T00:00:00Z"));
        assert_eq!(moment("2026-11-20 00:00:00").unwrap(), midnight);
        assert_eq!(moment("2026-11-20T01:00:00+01:00").unwrap(), midnight);
        assert_eq!(end("2026-11-19").unwrap(), midnight);
        assert_eq!(day(&midnight), "2026-11-20");
        for wrong in ["", "yesterday", "2026-13-01", "20.11.2026", "\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}"] {
            assert!(moment(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_calls_id_tells_when_it_began() {
        assert_eq!(
            text(of_id("01890a5d-ac96-774b-bcce-b302099a8057").as_ref()).as_deref(),
            Some("2023-06-30T03:34:18.518Z")
        );
        assert_eq!(of_id("0190a5dd-ac96-474b-bcce-b302099a8057"), None);
        assert_eq!(of_id("key"), None);
    }
}
