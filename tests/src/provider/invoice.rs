//! The provider's invoice over what it has served, in the form of OpenAI's exports, with differences planted where a test wants them.

use super::log::Record;

/// A line of the invoice: one request, until it is summed up.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Line {
    /// Day, UTC.
    pub day: String,
    /// The model.
    pub model: String,
    /// Service tier; empty: standard.
    pub tier: String,
    /// The provider's id of the request.
    pub request_id: String,
    /// How many requests.
    pub requests: u64,
    /// Tokens of prompts.
    pub input: u64,
    /// The part of them read from a cache.
    pub cached: u64,
    /// Tokens of answers.
    pub output: u64,
    /// Nano-dollars.
    pub nano_usd: i64,
}

/// An invoice that can still be changed.
#[derive(Debug, Clone, Default)]
pub struct Invoice {
    /// Its lines.
    pub lines: Vec<Line>,
}

impl Invoice {
    /// Bills what was served, request by request, at so many pico-dollars per token of input and output.
    pub fn over(records: &[Record], input_pico: u64, output_pico: u64) -> Self {
        let billed = records.iter().filter(|r| r.prompt_tokens + r.completion_tokens > 0);
        let line = |record: &Record| Line {
            day: day(record.ended_at_ms),
            model: record.model.clone(),
            tier: String::new(),
            request_id: record.provider_request_id.clone(),
            requests: 1,
            input: record.prompt_tokens,
            cached: record.cached_tokens,
            output: record.completion_tokens,
            nano_usd: (record.prompt_tokens * input_pico + record.completion_tokens * output_pico).div_ceil(1_000)
                as i64,
        };
        Self { lines: billed.map(line).collect() }
    }

    /// Sums lines up by day, model and tier, as exports do.
    #[must_use]
    pub fn summed(&self) -> Self {
        let mut summed: Vec<Line> = Vec::new();
        for line in &self.lines {
            let same = |l: &&mut Line| (&l.day, &l.model, &l.tier) == (&line.day, &line.model, &line.tier);
            match summed.iter_mut().find(same) {
                Some(sum) => {
                    sum.requests += line.requests;
                    sum.input += line.input;
                    sum.cached += line.cached;
                    sum.output += line.output;
                    sum.nano_usd += line.nano_usd;
                }
                None => summed.push(Line { request_id: String::new(), ..line.clone() }),
            }
        }
        Self { lines: summed }
    }

    /// The CSV, with amounts to so many places.
    pub fn csv(&self, places: usize) -> String {
        let mut csv = String::from(
            "start_time,num_model_requests,model,service_tier,input_tokens,output_tokens,input_cached_tokens,amount_value,\
             amount_currency,request_id\n",
        );
        for l in &self.lines {
            let dollars = format!("{:.places$}", l.nano_usd as f64 / 1e9);
            csv += &format!(
                "{},{},{},{},{},{},{},{dollars},usd,{}\n",
                l.day, l.requests, l.model, l.tier, l.input, l.output, l.cached, l.request_id
            );
        }
        csv
    }
}

/// The day of a moment, UTC (civil-from-days).
fn day(ms: u64) -> String {
    let days = (ms / 86_400_000) as i64 + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let (y, m) = (year + era * 400 + i64::from(month >= 10), if month < 10 { month + 3 } else { month - 9 });
    format!("{y:04}-{m:02}-{:02}", of_year - (153 * month + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    #[test]
    fn days_are_days() {
        assert_eq!(super::day(0), "1970-01-01");
        assert_eq!(super::day(1_795_132_800_000), "2026-11-20");
        assert_eq!(super::day(1_709_164_800_000), "2024-02-29");
    }
}
