//! Windows of budgets: which one a moment belongs to is a pure function of time. Nothing is reset, so no reset can be missed or run twice.

use jiff::{Timestamp, ToSpan, Unit, ZonedRound, tz::TimeZone};
use tollgate_domain::{Violation, micros};
use tollgate_proto::v1::{BudgetWindow, CalendarUnit, budget_window};

const SECOND_US: i64 = 1_000_000;
/// A rolling window moves on in this many steps.
const STEPS: i64 = 60;

/// When spend begins anew.
#[derive(Clone, Debug, PartialEq)]
pub enum Window {
    /// Never.
    Total,
    /// With a unit of the calendar in a time zone.
    Calendar {
        /// The unit.
        unit: CalendarUnit,
        /// Whose midnight counts.
        zone: TimeZone,
    },
    /// After equal lengths of time.
    Every {
        /// Length.
        length_us: i64,
        /// Where one begins.
        anchor_us: i64,
    },
    /// All the time: the last `length_us` count, in steps.
    Rolling {
        /// Length.
        length_us: i64,
        /// Length of a step.
        step_us: i64,
    },
}

/// One window, or one step of a rolling one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Seconds since the epoch at its start; 0 for the only window of a budget without windows. Grows with time.
    pub id: i64,
    /// Its start.
    pub start_us: i64,
    /// Its end, not included.
    pub end_us: i64,
}

impl Window {
    /// Reads what an admin asked for. `created_us` anchors windows without an anchor.
    pub fn read(window: Option<&BudgetWindow>, created_us: i64) -> Result<Self, Violation> {
        let bad = |field: &str, description: String| Violation { field: format!("budget.window{field}"), description };
        let seconds = |field: &str, seconds: i64, least: i64, most: i64| {
            let fits = (least..=most).contains(&seconds);
            fits.then(|| seconds * SECOND_US).ok_or_else(|| bad(field, format!("must be {least} to {most}")))
        };
        match window.map(|w| w.window.as_ref()) {
            None => Ok(Self::Total),
            Some(None) => Err(bad("", "needs one of calendar, every, rolling; leave it out for a total".into())),
            Some(Some(budget_window::Window::Calendar(calendar))) => {
                let unit = CalendarUnit::try_from(calendar.unit).unwrap_or_default();
                if unit == CalendarUnit::Unspecified {
                    return Err(bad(".calendar.unit", "must be HOUR, DAY, WEEK or MONTH".into()));
                }
                let name = calendar.time_zone.as_str();
                let zone = if name.is_empty() { Ok(TimeZone::UTC) } else { TimeZone::get(name) };
                let zone = zone.map_err(|_| {
                    bad(".calendar.time_zone", format!("{name:?} is no IANA time zone such as Europe/Berlin"))
                })?;
                Ok(Self::Calendar { unit, zone })
            }
            Some(Some(budget_window::Window::Every(every))) => {
                let length_us = seconds(".every.seconds", every.seconds, 1, 315_360_000)?;
                let anchor_us = every.anchor.as_ref().map_or(created_us, micros);
                Ok(Self::Every { length_us, anchor_us: anchor_us.div_euclid(SECOND_US) * SECOND_US })
            }
            Some(Some(budget_window::Window::Rolling(rolling))) => {
                let length_us = seconds(".rolling.seconds", rolling.seconds, 60, 31_536_000)?;
                Ok(Self::Rolling { length_us, step_us: (length_us / STEPS / SECOND_US).max(1) * SECOND_US })
            }
        }
    }

    /// The window that `now_us` lies in.
    pub fn at(&self, now_us: i64) -> Span {
        let span = |start_us: i64, end_us: i64| Span { id: start_us.div_euclid(SECOND_US), start_us, end_us };
        match self {
            Self::Total => Span { id: 0, start_us: 0, end_us: i64::MAX },
            Self::Every { length_us, anchor_us } => {
                let now_us = if tollgate_planted::bug("window_late") { now_us - SECOND_US } else { now_us };
                let start = anchor_us + (now_us - anchor_us).div_euclid(*length_us) * length_us;
                span(start, start + length_us)
            }
            Self::Rolling { step_us, .. } => {
                let start = now_us.div_euclid(*step_us) * step_us;
                span(start, start + step_us)
            }
            // Years that the calendar does not know are an hour of UTC like any other: a budget never stops a call by panicking.
            Self::Calendar { unit, zone } => calendar(*unit, zone, now_us).map_or_else(
                || span(now_us.div_euclid(3_600 * SECOND_US) * 3_600 * SECOND_US, now_us + 1),
                |(start, end)| span(start, end),
            ),
        }
    }

    /// The first window whose spend counts against the limit while `span` is the current one. A step that reaches into the length
    /// counts whole, so that no stretch of that length ever exceeds the limit.
    pub fn counts_from(&self, span: Span) -> i64 {
        match self {
            Self::Rolling { length_us, .. } => (span.start_us - length_us).div_euclid(SECOND_US),
            _ => span.id,
        }
    }

    /// The window that leases are taken in: those of a rolling budget outlive its steps.
    pub fn lease_window(&self, window: i64) -> i64 {
        if self.is_rolling() { 0 } else { window }
    }

    /// Whether it moves on in steps.
    pub fn is_rolling(&self) -> bool {
        matches!(self, Self::Rolling { .. })
    }

    /// When spend begins anew; `None` where it never does at one moment.
    pub fn resets_at(&self, span: Span) -> Option<i64> {
        match self {
            Self::Total | Self::Rolling { .. } => None,
            _ => Some(span.end_us),
        }
    }
}

fn calendar(unit: CalendarUnit, zone: &TimeZone, now_us: i64) -> Option<(i64, i64)> {
    let now = Timestamp::from_microsecond(now_us).ok()?.to_zoned(zone.clone());
    let (start, end) = match unit {
        CalendarUnit::Hour => {
            let start = now.round(ZonedRound::new().smallest(Unit::Hour).mode(jiff::RoundMode::Trunc)).ok()?;
            let end = start.checked_add(1.hour()).ok()?;
            (start, end)
        }
        CalendarUnit::Day => {
            let start = now.start_of_day().ok()?;
            (start.clone(), start.tomorrow().ok()?.start_of_day().ok()?)
        }
        CalendarUnit::Week => {
            let back = i64::from(now.weekday().to_monday_zero_offset());
            let start = now.date().checked_sub(back.days()).ok()?;
            let end = start.checked_add(1.week()).ok()?;
            (start.to_zoned(zone.clone()).ok()?, end.to_zoned(zone.clone()).ok()?)
        }
        CalendarUnit::Month | CalendarUnit::Unspecified => {
            let start = now.date().first_of_month();
            let end = start.checked_add(1.month()).ok()?;
            (start.to_zoned(zone.clone()).ok()?, end.to_zoned(zone.clone()).ok()?)
        }
    };
    Some((start.timestamp().as_microsecond(), end.timestamp().as_microsecond()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tollgate_proto::v1::{CalendarWindow, EveryWindow, RollingWindow};

    use super::*;

    fn read(window: budget_window::Window) -> Result<Window, Violation> {
        Window::read(Some(&BudgetWindow { window: Some(window) }), 0)
    }

    fn by_calendar(unit: CalendarUnit, zone: &str) -> Window {
        let calendar = CalendarWindow { unit: unit as i32, time_zone: zone.into() };
        read(budget_window::Window::Calendar(calendar)).unwrap()
    }

    fn us(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_microsecond()
    }

    fn edges(window: &Window, now: &str) -> (String, String) {
        let span = window.at(us(now));
        let text = |us| Timestamp::from_microsecond(us).unwrap().to_string();
        (text(span.start_us), text(span.end_us))
    }

    fn pair(a: &str, b: &str) -> (String, String) {
        (a.into(), b.into())
    }

    #[test]
    fn a_calendar_window_begins_at_the_midnight_of_its_zone() {
        let berlin = by_calendar(CalendarUnit::Day, "Europe/Berlin");
        // The day on which summer time ends has 25 hours.
        assert_eq!(edges(&berlin, "2026-10-25T12:00:00Z"), pair("2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"));
        let month = by_calendar(CalendarUnit::Month, "America/New_York");
        assert_eq!(edges(&month, "2026-11-01T03:00:00Z"), pair("2026-10-01T04:00:00Z", "2026-11-01T04:00:00Z"));
        let week = by_calendar(CalendarUnit::Week, "");
        assert_eq!(edges(&week, "2026-11-22T23:59:59Z"), pair("2026-11-16T00:00:00Z", "2026-11-23T00:00:00Z"));
        // The hour that comes twice is two windows.
        let hour = by_calendar(CalendarUnit::Hour, "Europe/Berlin");
        assert_ne!(hour.at(us("2026-10-25T00:30:00Z")).id, hour.at(us("2026-10-25T01:30:00Z")).id);
        let india = by_calendar(CalendarUnit::Hour, "Asia/Kolkata");
        assert_eq!(edges(&india, "2026-01-01T00:45:00Z"), pair("2026-01-01T00:30:00Z", "2026-01-01T01:30:00Z"));
    }

    #[test]
    fn windows_of_thirty_days_follow_their_anchor_in_both_directions() {
        let every =
            EveryWindow { seconds: 30 * 86_400, anchor: Some(tollgate_domain::timestamp(us("2026-11-20T10:00:00Z"))) };
        let window = read(budget_window::Window::Every(every)).unwrap();
        assert_eq!(edges(&window, "2026-11-20T10:00:00Z"), pair("2026-11-20T10:00:00Z", "2026-12-20T10:00:00Z"));
        assert_eq!(edges(&window, "2026-11-20T09:59:59Z"), pair("2026-10-21T10:00:00Z", "2026-11-20T10:00:00Z"));
    }

    #[test]
    fn what_is_no_window_is_refused_by_name() {
        let zone = CalendarWindow { unit: CalendarUnit::Day as i32, time_zone: "Mars/Olympus".into() };
        let every = EveryWindow { seconds: 0, anchor: None };
        for (window, field) in [
            (budget_window::Window::Calendar(zone), "budget.window.calendar.time_zone"),
            (budget_window::Window::Calendar(CalendarWindow::default()), "budget.window.calendar.unit"),
            (budget_window::Window::Every(every), "budget.window.every.seconds"),
            (budget_window::Window::Rolling(RollingWindow { seconds: i64::MAX }), "budget.window.rolling.seconds"),
        ] {
            assert_eq!(read(window).unwrap_err().field, field);
        }
    }

    fn any_window() -> impl Strategy<Value = Window> {
        let units = [CalendarUnit::Hour, CalendarUnit::Day, CalendarUnit::Week, CalendarUnit::Month];
        let zones =
            ["", "Europe/Berlin", "America/St_Johns", "Pacific/Apia", "Australia/Lord_Howe", "Africa/Casablanca"];
        prop_oneof![
            (prop::sample::select(units.to_vec()), prop::sample::select(zones.to_vec()))
                .prop_map(|(u, z)| by_calendar(u, z)),
            (60..40_000_000i64, any::<u32>()).prop_map(|(length, anchor)| Window::Every {
                length_us: length * SECOND_US,
                anchor_us: i64::from(anchor) * SECOND_US
            }),
            (60..30_000_000i64)
                .prop_map(|seconds| read(budget_window::Window::Rolling(RollingWindow { seconds })).unwrap()),
        ]
    }

    proptest! {
        #[test]
        fn every_moment_lies_in_exactly_one_window_and_ids_only_grow(
            window in any_window(),
            now in 0..4_000_000_000_000_000i64,
            later in 0..10_000_000_000_000i64,
        ) {
            let span = window.at(now);
            prop_assert!(span.start_us <= now && now < span.end_us);
            prop_assert_eq!(window.at(span.start_us), span);
            prop_assert_eq!(window.at(span.end_us - 1), span);
            let next = window.at(span.end_us);
            prop_assert_eq!(next.start_us, span.end_us);
            prop_assert!(next.id > span.id);
            prop_assert!(window.at(now + later).id >= span.id);
            prop_assert!(window.counts_from(span) <= span.id);
        }
    }
}
