use std::path::{Path, PathBuf};

use anyhow::Context;
use indicatif::ProgressDrawTarget;
use jiff::{Timestamp, tz::TimeZone};

use super::{bar::Bar, gateway::Gateway, report::Report, run, source::Source, window::Clock};

/// What to import from where to where.
#[derive(clap::Args)]
pub struct Litellm {
    /// URL of LiteLLM's PostgreSQL database, as in its DATABASE_URL; `?schema=NAME` where it is not `public`. It is only read.
    #[arg(long, env = "LITELLM_DATABASE_URL", hide_env_values = true)]
    database_url: String,
    /// Base URL of the gateway that takes it over; without one a dry run does not know what is there already.
    #[arg(long, requires = "key_file")]
    url: Option<String>,
    /// File with a key of the role platform_admin.
    #[arg(long, requires = "url")]
    key_file: Option<PathBuf>,
    /// Move it. Without this nothing is changed, and the report tells what would be.
    #[arg(long, requires = "url")]
    apply: bool,
    /// LiteLLM's `timezone`, by whose midnight its budgets begin anew: `Europe/Berlin`.
    #[arg(long, default_value = "UTC")]
    time_zone: String,
    /// Write the report to this file as JSON, with every row.
    #[arg(long)]
    report: Option<PathBuf>,
}

/// Imports, with a bar on standard error where that is a terminal, and prints the report; true: nothing was refused.
pub fn litellm(asked: &Litellm) -> anyhow::Result<bool> {
    let report = tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(import(asked))?;
    // To standard output, which may have been closed by whoever has read enough.
    let _ = std::io::Write::write_all(&mut std::io::stdout(), report.tell().as_bytes());
    if let Some(file) = &asked.report {
        std::fs::write(file, serde_json::to_string_pretty(&report)?).with_context(|| file.display().to_string())?;
    }
    Ok(report.is_clean())
}

async fn import(asked: &Litellm) -> anyhow::Result<Report> {
    let zone = TimeZone::get(&asked.time_zone)
        .with_context(|| format!("--time-zone: {:?} is no IANA time zone such as Europe/Berlin", asked.time_zone))?;
    let gateway = match (&asked.url, &asked.key_file) {
        (Some(url), Some(file)) => Gateway::connect(url, &read(file)?, asked.apply).await?,
        _ => Gateway::default(),
    };
    let source = Source::connect(&asked.database_url).await?;
    let bar = Bar::on(ProgressDrawTarget::stderr())?;
    let progress = |done: u64, all: u64, entity: &str| bar.at(done, all, entity);
    let report = run(source, gateway, Clock { now: Timestamp::now(), zone }, !asked.apply, &progress).await;
    bar.clear();
    Ok(report)
}

fn read(file: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    Ok(text.trim().to_owned())
}
