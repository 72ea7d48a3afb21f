//! The last minute of calls.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use tollgate_client::v1::{AuditRecord, ErrorReason};

/// How far back the view looks.
pub(crate) const SPAN: Duration = Duration::from_secs(60);

/// One call that ended.
struct Call {
    at: Instant,
    model: String,
    duration_us: i64,
    first_content_us: Option<i64>,
    cost_nano_usd: i64,
    tokens: u64,
    failed: bool,
}

/// Calls that ended in the last minute, oldest first.
#[derive(Default)]
pub(crate) struct Window {
    calls: VecDeque<Call>,
}

/// What the calls of a model add up to.
#[derive(Default)]
pub(crate) struct Sums {
    pub(crate) calls: usize,
    pub(crate) failed: usize,
    pub(crate) tokens: u64,
    pub(crate) cost_nano_usd: i64,
    durations: Vec<i64>,
    firsts: Vec<i64>,
}

impl Window {
    /// Takes the record of a call; others are passed over.
    pub(crate) fn take(&mut self, record: &AuditRecord) {
        self.take_at(record, Instant::now());
    }

    fn take_at(&mut self, record: &AuditRecord, at: Instant) {
        // The call's own record sums up its attempts.
        if record.call_id.is_empty() || record.action == "attempt.settle" {
            return;
        }
        let usage = record.usage.as_ref();
        let read = usage.and_then(|usage| usage.input.as_ref()).map_or(0, |input| input.total);
        let written = usage.and_then(|usage| usage.output.as_ref()).map_or(0, |output| output.total);
        let served = record.routing.iter().flat_map(|routing| &routing.attempts).next_back();
        self.calls.push_back(Call {
            at,
            model: record.model.clone(),
            duration_us: record.duration_us,
            first_content_us: served.and_then(|attempt| attempt.first_content_us),
            cost_nano_usd: usage.map_or(0, |usage| usage.cost_nano_usd),
            tokens: read + written,
            failed: record.error_reason() != ErrorReason::Unspecified,
        });
    }

    /// Forgets what is older than the view looks back.
    pub(crate) fn forget(&mut self) {
        self.forget_at(Instant::now());
    }

    fn forget_at(&mut self, now: Instant) {
        while self.calls.front().is_some_and(|call| now.duration_since(call.at) > SPAN) {
            self.calls.pop_front();
        }
    }

    /// By model, and all together under the empty name.
    pub(crate) fn sums(&self) -> BTreeMap<String, Sums> {
        let mut all: BTreeMap<String, Sums> = BTreeMap::new();
        for call in &self.calls {
            for name in ["", call.model.as_str()] {
                let sums = all.entry(name.to_owned()).or_default();
                sums.calls += 1;
                sums.failed += usize::from(call.failed);
                sums.tokens += call.tokens;
                sums.cost_nano_usd += call.cost_nano_usd;
                sums.durations.push(call.duration_us);
                sums.firsts.extend(call.first_content_us);
            }
        }
        all
    }

    /// Calls in each second of the minute, oldest first.
    pub(crate) fn rate(&self) -> Vec<u64> {
        let (now, seconds) = (Instant::now(), SPAN.as_secs() as usize);
        let mut rate = vec![0; seconds];
        for call in &self.calls {
            let ago = now.duration_since(call.at).as_secs() as usize;
            if let Some(place) = seconds.checked_sub(ago + 1) {
                rate[place] += 1;
            }
        }
        rate
    }
}

impl Sums {
    /// The duration that so many percent of the calls did not exceed, in milliseconds.
    pub(crate) fn duration_ms(&self, percent: usize) -> i64 {
        percentile(&self.durations, percent) / 1_000
    }

    /// The same of the time to the first content.
    pub(crate) fn first_ms(&self, percent: usize) -> i64 {
        percentile(&self.firsts, percent) / 1_000
    }
}

fn percentile(values: &[i64], percent: usize) -> i64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let last = sorted.len().saturating_sub(1);
    sorted.get((last * percent).div_ceil(100)).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_of_calls_is_summed_by_model() {
        let (mut window, now) = (Window::default(), Instant::now());
        for (model, duration_us, reason) in
            [("gpt", 10_000, 0), ("gpt", 30_000, ErrorReason::ProviderFailed as i32), ("claude", 20_000, 0)]
        {
            let record = AuditRecord {
                call_id: "call".into(),
                model: model.into(),
                duration_us,
                error_reason: reason,
                ..AuditRecord::default()
            };
            window.take_at(&record, now);
        }
        window.take_at(&AuditRecord { action: "key.create".into(), ..AuditRecord::default() }, now);
        let sums = window.sums();
        assert_eq!((sums[""].calls, sums[""].failed, sums["gpt"].calls), (3, 1, 2));
        assert_eq!((sums[""].duration_ms(50), sums["gpt"].duration_ms(99)), (20, 30));
        window.forget_at(now + SPAN + Duration::from_secs(1));
        assert!(window.sums().is_empty());
    }
}
