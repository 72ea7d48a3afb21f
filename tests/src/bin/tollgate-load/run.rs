//! One run: start everything, warm it up, drive the targets in turn, tell what was seen.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tollgate_tests::support::gateway::Gateway;

use crate::calls::Kind;
use crate::drive::{Limit, Sample, closed};
use crate::idle::{first_answer, hold, stats};
use crate::measure::rss_kib;
use crate::report::Report;
use crate::scenarios::{Compare, SCENARIOS, Scenario};
use crate::servers::{Helper, Pinning, Target, bare, direct, gateway, raise_file_limit};

#[derive(Debug, clap::Args)]
pub(crate) struct RunArguments {
    /// The gateway's binary. Default: `TOLLGATE_BIN`, else `tollgate` beside this program.
    #[arg(long)]
    gateway_bin: Option<PathBuf>,
    /// Measure a gateway that is running already at this address, instead of starting one.
    #[arg(long, conflicts_with = "gateway_bin")]
    gateway_url: Option<String>,
    /// The process of that gateway; without it there are no CPU and memory figures.
    #[arg(long, requires = "gateway_url")]
    gateway_pid: Option<u32>,
    /// The key to show to that gateway.
    #[arg(long, requires = "gateway_url", default_value = tollgate_tests::provider::UPSTREAM_KEY)]
    gateway_key: String,
    /// The model to ask that gateway for.
    #[arg(long, requires = "gateway_url", default_value = "bench")]
    gateway_model: String,
    /// A fixed port for the scripted provider, for a gateway that runs already.
    #[arg(long)]
    provider_port: Option<u16>,
    /// Less of everything: under 40 seconds, for a first impression.
    #[arg(long)]
    quick: bool,
    /// Rounds over the matrix. Default 3, quick 2.
    #[arg(long)]
    rounds: Option<usize>,
    /// Open idle streams, up to 10,000; 0 leaves the step out. Default 1,000, quick 300.
    #[arg(long, value_parser = clap::value_parser!(u64).range(0..=10_000))]
    streams: Option<u64>,
    /// Threads of the bare proxy.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Only these scenarios: plain, rate, burst, paced, large, idle.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Do not pin processes to cores.
    #[arg(long)]
    unpinned: bool,
    /// Write the report as Markdown.
    #[arg(long)]
    markdown: Option<PathBuf>,
    /// Write the report as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

/// What the gateway wrote, for an error's sake.
fn wrote(gateway: Option<&Gateway>) -> String {
    let logs = gateway.map(Gateway::logs).unwrap_or_default();
    match logs.is_empty() {
        true => "measuring".into(),
        false => format!("the gateway wrote:\n{logs}"),
    }
}

/// A run under way.
struct Run {
    arguments: RunArguments,
    pinning: Pinning,
    provider: Helper,
    report: Report,
}

pub(crate) fn run(arguments: RunArguments) -> Result<()> {
    let pinning = Pinning::choose(!arguments.unpinned);
    let files = raise_file_limit();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async move {
        let provider = Helper::provider(arguments.provider_port)?;
        let mut run = Run { arguments, pinning, provider, report: Report::default() };
        run.measure(files).await?;
        run.tell()
    })
}

impl Run {
    async fn measure(&mut self, files: u64) -> Result<()> {
        let begun = Instant::now();
        let rounds = self.arguments.rounds.unwrap_or(if self.arguments.quick { 2 } else { 3 });
        self.report.setting = vec![
            self.pinning.describe(),
            format!("bare proxy with {} thread(s), {rounds} rounds", self.arguments.threads),
            "CPU from the scheduler's accounts; goals have the unit of the comparison unless they name one".into(),
        ];
        if self.wants("idle") {
            self.stand_still(files).await?;
        }
        let proxy = Helper::proxy(&self.pinning, self.provider.address, self.arguments.threads)?.reachable()?;
        let (gateway, under_test) = self.start_gateway()?;
        let targets = [direct(&self.provider), bare(&proxy), under_test];
        for target in &targets {
            first_answer(target, Instant::now()).await.with_context(|| wrote(gateway.as_ref()))?;
            self.warm_up(target).await.with_context(|| wrote(gateway.as_ref()))?;
        }
        let wanted: Vec<&Scenario> = SCENARIOS.iter().filter(|scenario| self.wants(scenario.id)).collect();
        for round in 0..rounds {
            for scenario in &wanted {
                // Every other round backwards, so that a drift of the machine favours nobody.
                let mut order: Vec<&Target> = targets.iter().collect();
                if round % 2 == 1 {
                    order.reverse();
                }
                for target in order {
                    if target.name != "direct" || scenario.needs_direct() {
                        self.drive(scenario, target).await?;
                    }
                }
            }
            eprintln!("round {} of {rounds} done after {:.0} s", round + 1, begun.elapsed().as_secs_f64());
        }
        self.report.setting.push(format!("{:.0} s in all", begun.elapsed().as_secs_f64()));
        Ok(())
    }

    fn wants(&self, id: &str) -> bool {
        self.arguments.only.is_empty() || self.arguments.only.iter().any(|only| only == id)
    }

    async fn warm_up(&self, target: &Target) -> Result<()> {
        let seconds = if self.arguments.quick { 0.3 } else { 1.0 };
        for kind in [Kind::Plain, Kind::Burst, Kind::Large] {
            let limit = Limit { calls: 5_000, time: Duration::from_secs_f64(seconds / 3.0) };
            let sample = closed(target, &kind.call(target), 16, limit).await?;
            if sample.done == 0 {
                let error = sample.error.unwrap_or_default();
                anyhow::bail!("{} answers no {kind:?} call: {error}", target.name);
            }
        }
        Ok(())
    }

    async fn drive(&mut self, scenario: &Scenario, target: &Target) -> Result<()> {
        let before = stats(&self.provider).await?["calls"].as_u64().unwrap_or(0);
        let sample = scenario.drive(target, self.arguments.quick).await?;
        let upstream = stats(&self.provider).await?["calls"].as_u64().unwrap_or(0) - before;
        self.check(scenario, target, &sample, upstream);
        for figure in scenario.figures {
            let known = target.pid.is_some() || !figure.name.contains("CPU") && !figure.name.contains("core");
            if known && (target.name != "direct" || figure.compare == Compare::Added) {
                let row = self.report.row(scenario.title, figure.name, figure.unit, figure.compare);
                (row.must, row.ambition) = (figure.must, figure.ambition);
                row.values(target.name).push((figure.read)(&sample));
            }
        }
        Ok(())
    }

    /// Figures of calls that failed, or never reached the provider, would flatter.
    fn check(&mut self, scenario: &Scenario, target: &Target, sample: &Sample, upstream: u64) {
        let name = format!("{} through {}", scenario.title, target.name);
        if sample.failed > 0 {
            let error = sample.error.as_deref().unwrap_or_default();
            self.report.warn(format!(
                "{name}: {} of {} calls failed: {error}",
                sample.failed,
                sample.failed + sample.done
            ));
        }
        if upstream != sample.done + sample.failed {
            let made = sample.done + sample.failed;
            self.report.warn(format!("{name}: {made} calls were made, the provider saw {upstream}"));
        }
    }

    fn start_gateway(&self) -> Result<(Option<Gateway>, Target)> {
        let arguments = &self.arguments;
        let Some(url) = &arguments.gateway_url else {
            let (gateway, target) = gateway(arguments.gateway_bin.as_ref(), &self.pinning, self.provider.address)?;
            return Ok((Some(gateway), target));
        };
        let authority = url.trim_start_matches("http://").trim_end_matches('/');
        let address: SocketAddr = authority.parse().context("--gateway-url: http://ADDRESS:PORT")?;
        let (key, model) = (arguments.gateway_key.clone(), arguments.gateway_model.clone());
        Ok((None, Target { name: "gateway", address, key, model, pid: arguments.gateway_pid }))
    }

    /// Start-up, idle memory and open streams, each time in a fresh process.
    async fn stand_still(&mut self, files: u64) -> Result<()> {
        let starts = if self.arguments.quick { 3 } else { 5 };
        for start in 0..starts {
            let begun = Instant::now();
            let proxy = Helper::proxy(&self.pinning, self.provider.address, self.arguments.threads)?;
            self.stand(&bare(&proxy), begun, start + 1 == starts, files).await?;
            drop(proxy);
            let begun = Instant::now();
            let (gateway, target) = self.start_gateway()?;
            let last = start + 1 == starts;
            if self.arguments.gateway_url.is_none() || last {
                let stood = self.stand(&target, begun, last, files).await;
                stood.with_context(|| wrote(gateway.as_ref()))?;
            }
        }
        Ok(())
    }

    async fn stand(&mut self, target: &Target, begun: Instant, last: bool, files: u64) -> Result<()> {
        let ready = first_answer(target, begun).await?;
        let fresh = target.name != "gateway" || self.arguments.gateway_url.is_none();
        if fresh {
            self.note(target, "start to first answer", "ms", ready, "100 ms", "40 ms");
        }
        if !last {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        if target.pid.is_some() {
            self.note(target, "RSS", "MiB", rss_kib(target.pid) / 1024.0, "40 MiB", "20 MiB");
        }
        let wanted = self.arguments.streams.unwrap_or(if self.arguments.quick { 300 } else { 1_000 });
        let streams = wanted.min(files.saturating_sub(100) / 2);
        if streams < wanted {
            self.report.warn(format!("only {streams} streams: this process may open {files} files"));
        }
        if streams == 0 {
            return Ok(());
        }
        let held = hold(target, &self.provider, streams as usize).await?;
        let name = |what: &str| format!("{what} with {} open streams", held.streams);
        if target.pid.is_some() {
            self.note(target, &name("KiB per stream"), "KiB", held.kib_per_stream, "60 KiB", "35 KiB");
            self.note(target, &name("CPU"), "%", held.cpu_percent, "0.5 %", "0.1 %");
        }
        self.note(target, &name("hang-up seen upstream"), "ms", held.hang_up_ms, "", "");
        Ok(())
    }

    fn note(
        &mut self,
        target: &Target,
        figure: &str,
        unit: &'static str,
        value: f64,
        must: &'static str,
        ambition: &'static str,
    ) {
        let row = self.report.row("idle", figure, unit, Compare::Ratio);
        (row.must, row.ambition) = (must, ambition);
        row.values(target.name).push(value);
    }

    fn tell(&self) -> Result<()> {
        self.report.setting.iter().for_each(|line| println!("{line}"));
        println!("\n{}", self.report.table());
        if let Some(path) = &self.arguments.markdown {
            std::fs::write(path, self.report.markdown()).context("writing the Markdown report")?;
        }
        if let Some(path) = &self.arguments.json {
            std::fs::write(path, format!("{:#}\n", self.report.json())).context("writing the JSON report")?;
        }
        Ok(())
    }
}
