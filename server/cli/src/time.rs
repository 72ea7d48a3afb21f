//! Times and lengths of time as people write them.

use jiff::{SignedDuration, Timestamp, civil::Date, tz::TimeZone};
use prost_types::Timestamp as Wire;

/// Reads a length: `90s`, `5m`, `2h`, `7d`, `4w`; in seconds.
pub(crate) fn seconds(text: &str) -> Result<i64, String> {
    let wrong = || format!("{text:?} is no length of time, as in 90s, 5m, 2h, 7d or 4w");
    let unit = text.chars().last().ok_or_else(wrong)?;
    let each = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        'w' => 604_800,
        _ => return Err(wrong()),
    };
    let count: i64 = text[..text.len() - 1].parse().ok().filter(|count| *count >= 0).ok_or_else(wrong)?;
    count.checked_mul(each).ok_or_else(wrong)
}

/// Reads a moment in the past: how long ago (`7d`), a day (`2026-11-20`, UTC), or RFC 3339.
pub(crate) fn past(text: &str) -> Result<Wire, String> {
    at(text, -1)
}

/// Reads a moment to come: in how long, a day, or RFC 3339.
pub(crate) fn future(text: &str) -> Result<Wire, String> {
    at(text, 1)
}

fn at(text: &str, direction: i64) -> Result<Wire, String> {
    let wrong = || format!("{text:?} is no time: give 7d, 2026-11-20 or 2026-11-20T08:00:00Z");
    if let Ok(seconds) = seconds(text) {
        let then = Timestamp::now().checked_add(SignedDuration::from_secs(seconds * direction));
        return then.map(wire).map_err(|_| wrong());
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(wire(time));
    }
    let day: Date = text.parse().map_err(|_| wrong())?;
    Ok(wire(day.to_zoned(TimeZone::UTC).map_err(|_| wrong())?.timestamp()))
}

fn wire(time: Timestamp) -> Wire {
    Wire { seconds: time.as_second(), nanos: time.subsec_nanosecond() }
}

/// Writes a moment, UTC, to the second; nothing where there is none.
pub(crate) fn told(time: Option<&Wire>) -> String {
    let time = time.and_then(|time| Timestamp::new(time.seconds, 0).ok());
    time.map(|time| time.strftime("%Y-%m-%d %H:%M:%S").to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_moments_are_read() {
        assert_eq!(seconds("90s"), Ok(90));
        assert_eq!(seconds("2w"), Ok(1_209_600));
        for wrong in ["", "7", "-1d", "d", "1y", "999999999999999999w", "é"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
        let day = past("2026-11-20").unwrap();
        assert_eq!(told(Some(&day)), "2026-11-20 00:00:00");
        assert_eq!(past("2026-11-20T08:00:00+02:00").unwrap().seconds, day.seconds + 6 * 3_600);
        assert!(past("1d").unwrap().seconds < future("1d").unwrap().seconds - 172_000);
        assert!(past("yesterday").is_err());
    }
}
