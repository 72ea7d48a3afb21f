//! What a sink costs whose receiver takes nothing: calls through a gateway with it and through one without, in turn.
//!
//! Every kind of sink gets a gateway of its own beside a fresh one without sinks, and each round drives both, so that a
//! ratio is of two drives seconds apart. The first row compares two gateways without sinks: that is the noise. Afterwards
//! the sink's counters must account for every call that was made.

mod account;
mod receivers;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tollgate_tests::support::gateway::Gateway;

use self::account::Account;
use self::receivers::{Receivers, SINKS, Trouble, calls_for};
use crate::calls::Kind;
use crate::drive::{Limit, Sample, closed, open};
use crate::report::{draw, median, spread};
use crate::servers::{Helper, Pinning, Target, gateway_with, raise_file_limit};

/// Bytes on disk that the sink in the last row may use: soon full.
const SMALL_LIMIT: u64 = 16_384;

#[derive(Debug, clap::Args)]
pub(crate) struct SinkArguments {
    /// The gateway's binary. Default: `TOLLGATE_BIN`, else `tollgate` beside this program.
    #[arg(long)]
    gateway_bin: Option<PathBuf>,
    /// Rounds for each sink; in each, the gateway with the sink and the one without are driven once.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Callers that call again as soon as they are answered: throughput.
    #[arg(long, default_value_t = 64)]
    callers: usize,
    /// How long they call in a round.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Calls that they make in a round at most.
    #[arg(long, default_value_t = 40_000)]
    calls: u64,
    /// Calls a second at a constant rate, for as long again: p99.
    #[arg(long, default_value_t = 1_000.0)]
    rate: f64,
    /// Only these sinks: langfuse, helicone, datadog, s3, gcs, azure, local, sentry, webhook, otlp, stdout.
    #[arg(long, value_delimiter = ',', value_parser = SINKS)]
    only: Vec<String>,
    /// Do not pin processes to cores.
    #[arg(long)]
    unpinned: bool,
    /// Write the table as Markdown.
    #[arg(long)]
    markdown: Option<PathBuf>,
    /// Write everything that was measured as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

/// A gateway to be held against one without sinks.
struct Case {
    name: String,
    receiver: &'static str,
    kind: Kind,
    sinks: Value,
    wrapper: Vec<String>,
    /// Bytes that may be spilled, where that is so few that records must be lost.
    limit: Option<u64>,
}

/// What came of it: a ratio for each round.
#[derive(Default)]
struct Outcome {
    name: String,
    receiver: &'static str,
    calls: u64,
    throughput: Vec<f64>,
    p99: Vec<f64>,
    account: Option<Account>,
}

pub(crate) fn run(arguments: SinkArguments) -> Result<()> {
    let pinning = Pinning::choose(!arguments.unpinned);
    raise_file_limit();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async move {
        let provider = Helper::provider(None)?;
        let receivers = Receivers::start().await?;
        let run = Run { arguments, pinning, provider };
        let mut outcomes = Vec::new();
        for case in cases(&run.arguments.only, &receivers) {
            eprintln!("{}, receiver: {}", case.name, case.receiver);
            outcomes.push(run.measure(&case).await?);
        }
        run.tell(&outcomes)
    })
}

fn cases(only: &[String], receivers: &Receivers) -> Vec<Case> {
    let none = Case {
        name: "no sink".into(),
        receiver: "none: the noise",
        kind: Kind::Plain,
        sinks: json!({}),
        wrapper: Vec::new(),
        limit: None,
    };
    let mut cases = vec![none];
    for sink in SINKS.into_iter().filter(|sink| only.is_empty() || only.iter().any(|only| only == sink)) {
        for (trouble, receiver) in [(Trouble::Stalls, "stalls"), (Trouble::Refuses, "refuses")] {
            let Some(mut settings) = receivers.settings(sink, trouble) else { continue };
            // A first batch soon, and a first failure within the run.
            settings["batch"] = json!({ "max_age": "50ms" });
            settings["timeout"] = "1s".into();
            cases.push(Case {
                name: sink.into(),
                receiver,
                kind: calls_for(sink),
                sinks: json!({ "sink": settings }),
                wrapper: receivers.wrapper(sink, trouble),
                limit: None,
            });
        }
    }
    if let Some(mut settings) = receivers.settings("webhook", Trouble::Stalls) {
        settings["batch"] = json!({ "max_age": "50ms", "max_records": 10 });
        settings["memory_records"] = 10.into();
        settings["spill_max_bytes"] = SMALL_LIMIT.into();
        cases.push(Case {
            name: "webhook".into(),
            receiver: "stalls, disk full",
            kind: Kind::Plain,
            sinks: json!({ "sink": settings }),
            wrapper: Vec::new(),
            limit: Some(SMALL_LIMIT),
        });
    }
    cases
}

/// A run under way.
struct Run {
    arguments: SinkArguments,
    pinning: Pinning,
    provider: Helper,
}

impl Run {
    async fn start(&self, sinks: &Value, wrapper: &[String]) -> Result<(Gateway, Target)> {
        let binary = self.arguments.gateway_bin.as_ref();
        let (mut gateway, target) = gateway_with(binary, &self.pinning, self.provider.address, |builder| {
            builder.set("/sinks", sinks.clone()).wrapped_in(wrapper.iter().cloned().chain(self.pinning.wrapper()))
        })?;
        gateway.ready().await?;
        Ok((gateway, target))
    }

    async fn measure(&self, case: &Case) -> Result<Outcome> {
        let (_without, base) = self.start(&json!({}), &[]).await?;
        let (with, under_test) = self.start(&case.sinks, &case.wrapper).await?;
        let mut outcome = Outcome { name: case.name.clone(), receiver: case.receiver, ..Outcome::default() };
        for target in [&base, &under_test] {
            let warm_up = Limit { calls: self.arguments.calls.min(500), time: Duration::from_secs(1) };
            let sample = checked(closed(target, &case.kind.call(target), 8, warm_up).await?, case)?;
            outcome.calls += if target.address == under_test.address { sample.done } else { 0 };
        }
        for round in 0..self.arguments.rounds {
            // Every other round backwards, so that a drift of the machine favours nobody.
            let (base, tested) = if round % 2 == 0 {
                let base = self.drive(case, &base).await?;
                (base, self.drive(case, &under_test).await?)
            } else {
                let tested = self.drive(case, &under_test).await?;
                (self.drive(case, &base).await?, tested)
            };
            outcome.calls += tested.calls;
            outcome.throughput.push(tested.per_second / base.per_second);
            outcome.p99.push(tested.p99_us / base.p99_us);
        }
        if case.sinks.as_object().is_some_and(|sinks| !sinks.is_empty()) {
            let account = Account::of(&with, outcome.calls).await?;
            ensure_kept(case, &account)?;
            outcome.account = Some(account);
        }
        Ok(outcome)
    }

    async fn drive(&self, case: &Case, target: &Target) -> Result<Driven> {
        let (call, arguments) = (case.kind.call(target), &self.arguments);
        let time = Duration::from_secs_f64(arguments.seconds);
        let limit = Limit { calls: arguments.calls, time };
        let fast = checked(closed(target, &call, arguments.callers, limit).await?, case)?;
        let even = checked(open(target, &call, arguments.rate, Limit { calls: arguments.calls, time }).await?, case)?;
        Ok(Driven {
            calls: fast.done + even.done,
            per_second: fast.done as f64 / fast.seconds.max(1e-9),
            p99_us: even.latency.value_at_quantile(0.99).max(1) as f64,
        })
    }

    fn tell(&self, outcomes: &[Outcome]) -> Result<()> {
        let table = table(outcomes);
        println!("{}\n\n{table}", self.pinning.describe());
        let arguments = &self.arguments;
        if let Some(path) = &arguments.markdown {
            std::fs::write(path, &table)?;
        }
        if let Some(path) = &arguments.json {
            let rows: Vec<Value> = outcomes.iter().map(Outcome::json).collect();
            let told = json!({ "setting": self.pinning.describe(), "rounds": arguments.rounds, "rows": rows });
            std::fs::write(path, format!("{told:#}\n"))?;
        }
        Ok(())
    }
}

/// One drive of one gateway.
struct Driven {
    calls: u64,
    per_second: f64,
    p99_us: f64,
}

/// A call that fails would flatter, and its record may say something else.
fn checked(sample: Sample, case: &Case) -> Result<Sample> {
    let error = sample.error.as_deref().unwrap_or_default();
    ensure!(sample.failed == 0, "{} ({}): {} calls failed: {error}", case.name, case.receiver, sample.failed);
    ensure!(sample.done > 0, "{} ({}): no call was made", case.name, case.receiver);
    Ok(sample)
}

/// Nothing is lost below the limit of the disk; at it, the files stay within it.
fn ensure_kept(case: &Case, account: &Account) -> Result<()> {
    let name = format!("{} ({})", case.name, case.receiver);
    // A pipe takes what fits into it.
    let takes_some = !case.wrapper.is_empty();
    ensure!(takes_some || account.sent == 0, "{name}: the receiver takes nothing, the sink says it did: {account:?}");
    match case.limit {
        None => ensure!(account.dropped == 0, "{name}: records are lost: {account:?}"),
        Some(limit) => {
            ensure!(account.spilled_bytes <= limit, "{name}: more than {limit} bytes are on disk: {account:?}");
            ensure!(account.dropped > 0, "{name}: too few calls to fill {limit} bytes: {account:?}");
        }
    }
    Ok(())
}

impl Outcome {
    fn cells(&self, noise: &Outcome) -> [String; 9] {
        let count = |of: fn(&Account) -> u64| self.account.as_ref().map_or("-".into(), |a| of(a).to_string());
        [
            self.name.clone(),
            self.receiver.into(),
            spread(&self.throughput, "x "),
            spread(&self.p99, "x "),
            if self.is_within(noise) { "yes" } else { "no" }.into(),
            self.calls.to_string(),
            count(|account| account.in_memory),
            count(|account| account.on_disk),
            count(|account| account.dropped),
        ]
    }

    /// Whether the medians are no worse than the worst round of two gateways that are the same.
    fn is_within(&self, noise: &Outcome) -> bool {
        let worst = |values: &[f64], of: fn(f64, f64) -> f64| values.iter().copied().reduce(of).unwrap_or(1.0);
        median(&self.throughput) >= Some(worst(&noise.throughput, f64::min))
            && median(&self.p99) <= Some(worst(&noise.p99, f64::max))
    }

    fn json(&self) -> Value {
        json!({
            "sink": self.name, "receiver": self.receiver, "calls": self.calls, "throughput_ratios": self.throughput,
            "p99_ratios": self.p99, "account": self.account.as_ref().map(Account::json)
        })
    }
}

fn table(outcomes: &[Outcome]) -> String {
    let head =
        ["sink", "its receiver", "throughput", "p99", "within noise", "calls", "in memory", "on disk", "dropped"];
    let Some(noise) = outcomes.first() else { return String::new() };
    draw(head, outcomes.iter().map(|outcome| outcome.cells(noise)))
}
