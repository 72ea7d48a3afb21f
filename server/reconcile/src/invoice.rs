//! Invoices as providers export them.

use std::collections::HashMap;

use tollgate_domain::timestamp;
use tollgate_proto::v1::{InputUsage, InvoiceFormat, OutputUsage, Usage};

/// Why an invoice cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum InvoiceError {
    /// The form is not one that this version knows.
    #[error("the format is not one that this version knows; OPENAI_CSV and ANTHROPIC_CSV are")]
    Format,
    /// A column that is needed is missing.
    #[error("the header has none of the columns {0}; export costs, not only usage")]
    Column(&'static str),
    /// A line cannot be read.
    #[error("line {line}: {column}: {message}")]
    Line {
        /// Number of the line, from 1.
        line: u64,
        /// The column.
        column: String,
        /// What is wrong.
        message: String,
    },
    /// It is no CSV.
    #[error("{0}")]
    Csv(#[from] csv::Error),
}

/// A line of an invoice.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Line {
    /// Day, UTC, `2026-11-20`.
    pub day: String,
    /// Model in the provider's words.
    pub model: String,
    /// Service tier; empty: the standard one.
    pub tier: String,
    /// The provider's id of the one request that the line is about.
    pub request_id: Option<String>,
    /// How many requests it is about.
    pub requests: Option<i64>,
    /// What they consumed.
    pub usage: Option<Usage>,
    /// What is asked for, in nano-dollars.
    pub nano_usd: i64,
    /// By how much the figure may be rounded: half of its last place, in nano-dollars.
    pub rounding: i64,
}

/// An invoice.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Invoice {
    /// Its lines.
    pub lines: Vec<Line>,
}

/// Columns by name, and a row's fields by them.
struct Row<'a> {
    columns: &'a HashMap<String, usize>,
    record: &'a csv::StringRecord,
}

impl<'a> Row<'a> {
    fn text(&self, names: &[&str]) -> Option<&'a str> {
        let field = |name: &&str| self.record.get(*self.columns.get(*name)?).map(str::trim).filter(|t| !t.is_empty());
        names.iter().find_map(field)
    }

    fn bad(&self, column: &str, message: impl Into<String>) -> InvoiceError {
        let line = self.record.position().map_or(0, csv::Position::line);
        InvoiceError::Line { line, column: column.to_owned(), message: message.into() }
    }

    fn needed(&self, names: &[&str]) -> Result<&'a str, InvoiceError> {
        self.text(names).ok_or_else(|| self.bad(names[0], "is empty"))
    }

    fn count(&self, names: &[&str]) -> Result<Option<u64>, InvoiceError> {
        let Some(text) = self.text(names) else { return Ok(None) };
        let whole = text.strip_suffix(".0").unwrap_or(text);
        whole.parse().map(Some).map_err(|_| self.bad(names[0], format!("{text:?} is no count")))
    }

    /// Nano-dollars, and half of the last place that was written.
    fn money(&self, names: &[&str]) -> Result<(i64, i64), InvoiceError> {
        let text = self.needed(names)?;
        decimal(text.trim_start_matches('$'))
            .ok_or_else(|| self.bad(names[0], format!("{text:?} is no amount in dollars")))
    }

    /// A day from a date, a timestamp, or seconds since the epoch.
    fn day(&self, names: &[&str]) -> Result<String, InvoiceError> {
        let text = self.needed(names)?;
        if let Ok(seconds) = text.parse::<i64>() {
            return Ok(timestamp(seconds.saturating_mul(1_000_000)).to_string()[..10].to_owned());
        }
        let day = text.get(..10).filter(|day| day.parse::<jiff::civil::Date>().is_ok());
        day.map(str::to_owned).ok_or_else(|| self.bad(names[0], format!("{text:?} is no day; 2026-11-20 is one")))
    }
}

/// Reads a decimal as nano-dollars, rounded half up where it has more places; with half of its last place.
fn decimal(text: &str) -> Option<(i64, i64)> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (mantissa, exponent) = match digits.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (digits, 0),
    };
    let (whole, places) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.len() + places.len() == 0 || !whole.bytes().chain(places.bytes()).all(|b| b.is_ascii_digit()) {
        return None;
    }
    let units: i128 = format!("{whole}{places}").parse().ok()?;
    // The figure is units * 10^scale nano-dollars.
    let scale = 9i32.checked_add(exponent)?.checked_sub(i32::try_from(places.len()).ok()?)?;
    let power = |n: i32| 10i128.checked_pow(u32::try_from(n).ok()?);
    let (nano, rounding) = if scale >= 0 {
        (units.checked_mul(power(scale)?)?, power(scale)? / 2)
    } else {
        let divisor = power(scale.checked_neg()?)?;
        ((units + divisor / 2) / divisor, 1)
    };
    let nano = i64::try_from(nano).ok()?;
    Some((if negative { -nano } else { nano }, i64::try_from(rounding).ok()?))
}

impl Invoice {
    /// Reads an export.
    pub fn read(format: InvoiceFormat, csv: &[u8]) -> Result<Self, InvoiceError> {
        let read: fn(&Row<'_>) -> Result<Line, InvoiceError> = match format {
            InvoiceFormat::OpenaiCsv => openai,
            InvoiceFormat::AnthropicCsv => anthropic,
            InvoiceFormat::Unspecified => return Err(InvoiceError::Format),
        };
        // Spreadsheets begin their files with a byte order mark.
        let csv = csv.strip_prefix(b"\xef\xbb\xbf").unwrap_or(csv);
        let mut reader = csv::ReaderBuilder::new().flexible(true).trim(csv::Trim::All).from_reader(csv);
        let columns: HashMap<_, _> = reader.headers()?.iter().enumerate().map(|(i, c)| (c.to_lowercase(), i)).collect();
        let needed = match format {
            InvoiceFormat::OpenaiCsv => ["start_time", "amount_value"],
            _ => ["usage_date_utc", "cost_usd"],
        };
        if let Some(missing) = needed.into_iter().find(|column| !columns.contains_key(*column)) {
            return Err(InvoiceError::Column(missing));
        }
        let mut lines = Vec::new();
        for record in reader.records() {
            let record = record?;
            lines.push(read(&Row { columns: &columns, record: &record })?);
        }
        Ok(Self { lines })
    }
}

/// OpenAI's usage and costs exports (platform.openai.com/docs/api-reference/usage); input tokens include cached ones.
fn openai(row: &Row<'_>) -> Result<Line, InvoiceError> {
    if let Some(currency) = row.text(&["amount_currency"])
        && !currency.eq_ignore_ascii_case("usd")
    {
        return Err(row.bad("amount_currency", format!("is {currency:?}; amounts must be in US dollars")));
    }
    let (nano_usd, rounding) = row.money(&["amount_value"])?;
    let input = row.count(&["input_tokens"])?;
    let output = row.count(&["output_tokens"])?;
    let usage = input.zip(output).map(|(input, output)| -> Result<_, InvoiceError> {
        Ok(Usage {
            input: Some(InputUsage {
                total: input,
                cached_read: row.count(&["input_cached_tokens"])?.unwrap_or(0),
                audio: row.count(&["input_audio_tokens"])?.unwrap_or(0),
                ..InputUsage::default()
            }),
            output: Some(OutputUsage {
                total: output,
                audio: row.count(&["output_audio_tokens"])?.unwrap_or(0),
                ..OutputUsage::default()
            }),
            ..Usage::default()
        })
    });
    let is_batch = row.text(&["batch"]).is_some_and(|b| b.eq_ignore_ascii_case("true"));
    // A line item of the costs export is a model, and what of it: `gpt-5, cached input`.
    let item = row.text(&["line_item"]).map(|item| item.split(',').next().unwrap_or(item).trim());
    let model = row.text(&["model"]).or(item).ok_or_else(|| row.bad("model", "is empty"))?;
    Ok(Line {
        day: row.day(&["start_time"])?,
        model: model.to_owned(),
        tier: standard(if is_batch { "batch" } else { row.text(&["service_tier"]).unwrap_or_default() }),
        request_id: row.text(&["request_id"]).map(str::to_owned),
        requests: row.count(&["num_model_requests"])?.and_then(|n| i64::try_from(n).ok()),
        usage: usage.transpose()?,
        nano_usd,
        rounding,
    })
}

/// Anthropic's usage and cost exports (platform.claude.com, Usage and Cost); fresh, written and read input are apart.
fn anthropic(row: &Row<'_>) -> Result<Line, InvoiceError> {
    let (nano_usd, rounding) = row.money(&["cost_usd"])?;
    let fresh = row.count(&["usage_input_tokens_no_cache"])?;
    let output = row.count(&["usage_output_tokens"])?;
    let usage = fresh.zip(output).map(|(fresh, output)| -> Result<_, InvoiceError> {
        let read = row.count(&["usage_input_tokens_cache_read"])?.unwrap_or(0);
        let short = row.count(&["usage_input_tokens_cache_write_5m"])?.unwrap_or(0);
        let long = row.count(&["usage_input_tokens_cache_write_1h"])?.unwrap_or(0);
        Ok(Usage {
            input: Some(InputUsage {
                total: fresh.saturating_add(read).saturating_add(short).saturating_add(long),
                cached_read: read,
                cache_write_5m: short,
                cache_write_1h: long,
                ..InputUsage::default()
            }),
            output: Some(OutputUsage { total: output, ..OutputUsage::default() }),
            ..Usage::default()
        })
    });
    let kind = row.text(&["usage_type"]).filter(|kind| kind.eq_ignore_ascii_case("batch"));
    Ok(Line {
        day: row.day(&["usage_date_utc"])?,
        model: row.needed(&["model_version", "model"])?.to_owned(),
        tier: standard(kind.or_else(|| row.text(&["service_tier", "speed"])).unwrap_or_default()),
        request_id: row.text(&["request_id"]).map(str::to_owned),
        requests: row.count(&["requests", "request_count"])?.and_then(|n| i64::try_from(n).ok()),
        usage: usage.transpose()?,
        nano_usd,
        rounding,
    })
}

/// The standard tier goes by many names.
fn standard(tier: &str) -> String {
    match tier.to_lowercase().as_str() {
        "default" | "standard" | "auto" | "message" | "not_available" => String::new(),
        other => other.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_to_the_nano_dollar() {
        assert_eq!(decimal("12.34"), Some((12_340_000_000, 5_000_000)));
        assert_eq!(decimal("0.000000001"), Some((1, 0)));
        assert_eq!(decimal("0.0000000015"), Some((2, 1)));
        assert_eq!(decimal("-1"), Some((-1_000_000_000, 500_000_000)));
        assert_eq!(decimal("1.5e-3"), Some((1_500_000, 50_000)));
        for text in ["", ".", "1,5", "abc", "1e99", "--1"] {
            assert_eq!(decimal(text), None, "{text}");
        }
    }

    #[test]
    fn openais_export_is_read() {
        let csv = b"start_time,end_time,project_id,num_model_requests,model,batch,input_tokens,output_tokens,input_cached_tokens,amount_value,amount_currency\n\
            1795132800,1795219200,proj,3,gpt-5,false,300,40,100,0.0012,usd\n\
            2026-11-20T00:00:00Z,,proj,1,gpt-5,true,10,4,0,0.0001,usd\n";
        let invoice = Invoice::read(InvoiceFormat::OpenaiCsv, csv).unwrap();
        let [standard, batch] = &invoice.lines[..] else { panic!("{invoice:?}") };
        assert_eq!((standard.day.as_str(), standard.requests, standard.nano_usd), ("2026-11-20", Some(3), 1_200_000));
        assert_eq!(standard.usage.as_ref().unwrap().input.unwrap().cached_read, 100);
        assert_eq!((batch.tier.as_str(), batch.day.as_str()), ("batch", "2026-11-20"));
    }

    #[test]
    fn anthropics_export_is_read() {
        let csv = "\u{feff}usage_date_utc,model_version,usage_type,usage_input_tokens_no_cache,usage_input_tokens_cache_write_5m,\
            usage_input_tokens_cache_read,usage_output_tokens,cost_usd\n2026-11-20,claude-sonnet-5,standard,100,20,30,40,$0.5\n";
        let invoice = Invoice::read(InvoiceFormat::AnthropicCsv, csv.as_bytes()).unwrap();
        let line = &invoice.lines[0];
        let input = line.usage.as_ref().unwrap().input.unwrap();
        assert_eq!((input.total, input.cached_read, input.cache_write_5m), (150, 30, 20));
        assert_eq!((line.nano_usd, line.tier.as_str()), (500_000_000, ""));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let read = |csv: &str| Invoice::read(InvoiceFormat::OpenaiCsv, csv.as_bytes()).unwrap_err().to_string();
        assert!(read("start_time,model\n1,m\n").contains("amount_value"));
        assert!(read("start_time,model,amount_value\n2026-13-01,m,1\n").starts_with("line 2: start_time"));
        assert!(read("start_time,model,amount_value\n2026-11-20,m,many\n").contains("\"many\" is no amount"));
        assert!(read("start_time,model,amount_value,amount_currency\n2026-11-20,m,1,eur\n").contains("US dollars"));
    }
}
