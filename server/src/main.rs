//! The program: flags, signals, exit code.

use std::{
    fs::File,
    io::{BufReader, BufWriter},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context;
use clap::{CommandFactory, Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use tollgate::{app, audit_export, audit_log, build_table, config, import, ledger_check, models, scenario, telemetry};
use tollgate_proto::v1::AuditFilter;
use tollgate_providers::catalogue::Query;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The one door between a company's programs and every model provider.
#[derive(Parser)]
#[command(name = "tollgate", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the gateway. Without a configuration it starts with the built-in demo provider.
    Serve {
        /// Configuration file, YAML.
        #[arg(long, env = "TOLLGATE_CONFIG")]
        config: Option<PathBuf>,
        /// Address to listen on, instead of the configured one.
        #[arg(long)]
        listen: Option<String>,
    },
    /// Checks a configuration and tells what it says, without starting anything.
    Check {
        /// Configuration file, YAML.
        #[arg(long, env = "TOLLGATE_CONFIG")]
        config: PathBuf,
    },
    /// Runs scenarios against a configuration, in virtual time: what happens to calls when providers fail, and whether that is what must
    /// happen. Status 1: something does not hold.
    Test {
        /// Configuration file, YAML, for scenarios that name none.
        #[arg(long, env = "TOLLGATE_CONFIG")]
        config: Option<PathBuf>,
        /// Another seed than the scenarios'.
        #[arg(long)]
        seed: Option<u64>,
        /// Write all results to this file as JSON.
        #[arg(long)]
        json: Option<PathBuf>,
        /// Tell of every call in the JSON, not of the checks alone.
        #[arg(long, requires = "json")]
        calls: bool,
        /// Write all results to this file as JUnit XML.
        #[arg(long)]
        junit: Option<PathBuf>,
        /// Prints the JSON Schema of scenarios and ends.
        #[arg(long)]
        schema: bool,
        /// Writes a first scenario for the configuration to this file and ends.
        #[arg(long, requires = "config")]
        init: Option<PathBuf>,
        /// Scenario files, and directories of them.
        #[arg(required_unless_present_any = ["schema", "init"])]
        scenarios: Vec<PathBuf>,
    },
    /// Makes recorded calls again under another configuration, in virtual time, and compares: who would have answered, errors, cost.
    Replay {
        /// The other configuration, YAML.
        #[arg(long)]
        config: PathBuf,
        /// An export of audit records, as `tollgate audit export` writes it; `-`: standard input.
        #[arg(long)]
        from: PathBuf,
        /// Write the comparison to this file as JSON.
        #[arg(long)]
        json: Option<PathBuf>,
        /// Tell of every call in the JSON.
        #[arg(long, requires = "json")]
        calls: bool,
    },
    /// Lists the models of the built-in catalogue: price per million tokens, window, output limit, abilities, retirement.
    #[command(args_conflicts_with_subcommands = true)]
    Models {
        #[command(subcommand)]
        command: Option<ModelsCommand>,
        /// Words that must all stand in the provider, the id or an alias.
        search: Vec<String>,
        /// Only this provider's: `openai`, `anthropic`, `bedrock`, ...
        #[arg(long, default_value = "")]
        provider: String,
        /// Only those that are listed to have it: `tools`, `vision`, `reasoning`, ...; may be given several times.
        #[arg(long)]
        capability: Vec<String>,
        /// Only those that are for this: `chat`, `embedding`, `rerank`, ...
        #[arg(long, default_value = "")]
        mode: String,
        /// As JSON, with the source of every row.
        #[arg(long)]
        json: bool,
    },
    #[command(flatten)]
    Remote(Box<tollgate_cli::Command>),
    /// Looks after configuration files.
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Takes over what another gateway has: keys that go on working, teams, users, budgets, spend.
    Import {
        #[command(subcommand)]
        command: ImportCommand,
    },
    /// Looks after audit records.
    Audit {
        #[command(subcommand)]
        command: AuditCommand,
    },
    /// Looks after alerts.
    Alerts {
        #[command(subcommand)]
        command: AlertsCommand,
    },
    /// Looks after the ledger.
    Ledger {
        #[command(subcommand)]
        command: LedgerCommand,
    },
}

#[derive(Subcommand)]
enum ModelsCommand {
    #[command(flatten)]
    Remote(tollgate_cli::ModelsCommand),
    /// Tells all that is listed of one model.
    Show {
        /// `PROVIDER/MODEL`, by id or alias.
        model: String,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Writes the native file of a configuration in LiteLLM's dialect; what is not as it was stands in its comments, and on standard error.
    Convert {
        /// The file in LiteLLM's dialect.
        file: PathBuf,
        /// Write to this file, which must not be there yet and is its owner's alone, instead of standard output.
        #[arg(long)]
        output: Option<PathBuf>,
    },
}

#[derive(Subcommand)]
enum ImportCommand {
    /// From LiteLLM's PostgreSQL database. A dry run unless told to apply; run again, it goes on where it ended. Status 1: something was
    /// refused, or it ended early.
    Litellm(import::Litellm),
}

#[derive(Subcommand)]
enum AuditCommand {
    #[command(flatten)]
    Remote(tollgate_cli::AuditCommand),
    /// Tells the key that signs a running gateway's audit log: what `verify` and `check-receipt` take as `--key`.
    ///
    /// Needs a key of the role platform_admin.
    Key {
        #[command(flatten)]
        gateway: At,
    },
    /// Writes the audit records of a running gateway as lines of JSON. They hold no prompt, no answer and no secret.
    ///
    /// With --dir the whole log, as files that `tollgate audit verify` checks without the gateway.
    Export {
        #[command(flatten)]
        gateway: At,
        /// Only actions that begin so: `completion.`.
        #[arg(long, default_value = "")]
        action_prefix: String,
        /// Only acts of this key, by its id.
        #[arg(long, default_value = "")]
        key_id: String,
        /// From this moment on, RFC 3339: `2026-11-20T00:00:00Z`.
        #[arg(long)]
        since: Option<String>,
        /// Up to, not including, this moment.
        #[arg(long)]
        until: Option<String>,
        /// Write to this file instead of standard output.
        #[arg(long)]
        to: Option<PathBuf>,
        /// Write the whole log below this directory, which is made: records, tiles, checkpoints. Needs a key of the role platform_admin.
        #[arg(long, conflicts_with_all = ["action_prefix", "key_id", "since", "until", "to"])]
        dir: Option<PathBuf>,
        /// With --dir: also the ledger entries that the log names, as `ledger.jsonl`.
        #[arg(long, requires = "dir")]
        ledger: bool,
    },
    Verify(audit_log::Verify),
    CheckReceipt(audit_log::CheckReceipt),
}

#[derive(Subcommand)]
enum AlertsCommand {
    /// Sends a test notice, and its end, through each channel of the configuration. Status 1: one of them did not take it.
    Test {
        /// Configuration file, YAML.
        #[arg(long, env = "TOLLGATE_CONFIG")]
        config: PathBuf,
    },
}

#[derive(Subcommand)]
enum LedgerCommand {
    #[command(flatten)]
    Remote(tollgate_cli::LedgerCommand),
    /// Checks the invariants of the ledger. Status 1: some do not hold.
    ///
    /// With a URL a running gateway is asked; without, store and journal are read that a gateway has left.
    Check {
        /// Configuration file, YAML: where store and journal are.
        #[arg(long, env = "TOLLGATE_CONFIG")]
        config: Option<PathBuf>,
        #[command(flatten)]
        gateway: At,
    },
}

/// A running gateway, and a key that may do what is asked: of the role platform_admin, auditor or, for the ledger, finance.
#[derive(clap::Args)]
struct At {
    /// Base URL of the gateway.
    #[arg(long, requires = "key_file", conflicts_with = "profile")]
    url: Option<String>,
    /// File with the key.
    #[arg(long, requires = "url")]
    key_file: Option<PathBuf>,
    /// Gateway of this name in the file of profiles.
    #[arg(long)]
    profile: Option<String>,
}

impl At {
    /// The client; `None`: no gateway is named.
    fn client(&self) -> anyhow::Result<Option<tollgate_client::Client>> {
        if let Some(name) = &self.profile {
            return Ok(Some(tollgate_cli::profiled(name).map_err(|failure| anyhow::anyhow!("{}", failure.told()))?));
        }
        let (Some(url), Some(file)) = (&self.url, &self.key_file) else { return Ok(None) };
        let key = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
        Ok(Some(tollgate_client::Client::builder().address(url).key(key.trim()).connect_lazy()?))
    }

    /// The client of a gateway that must be named.
    fn named(&self) -> anyhow::Result<tollgate_client::Client> {
        self.client()?.context("no gateway: give --url and --key-file, or --profile")
    }
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Serve { config, listen } => serve(config, listen).map(|()| true),
        Command::Check { config } => check(config).map(|()| true),
        Command::Test { schema: true, .. } => {
            say(&format!("{:#}\n", scenario::json_schema()));
            Ok(true)
        }
        Command::Test { config, init: Some(file), .. } => init(config.as_deref(), &file).map(|()| true),
        Command::Test { config, seed, json, calls, junit, scenarios, .. } => {
            test(config.as_deref(), seed, json.as_deref().map(|file| (file, calls)), junit.as_deref(), &scenarios)
        }
        Command::Replay { config, from, json, calls } => replay(&config, &from, json.as_deref(), calls).map(|()| true),
        Command::Models { command: Some(ModelsCommand::Show { model, json }), .. } => told(models::show(&model, json)),
        Command::Models { command: Some(ModelsCommand::Remote(asked)), .. } => {
            return remote(tollgate_cli::models(asked));
        }
        Command::Audit { command: AuditCommand::Remote(asked) } => return remote(tollgate_cli::audit(asked)),
        Command::Audit { command: AuditCommand::Verify(asked) } => return audit_log::run_verify(&asked),
        Command::Audit { command: AuditCommand::CheckReceipt(asked) } => return audit_log::run_check_receipt(&asked),
        Command::Remote(asked) => return remote(tollgate_cli::run(*asked, Cli::command())),
        Command::Models { search, provider, capability, mode, json, .. } => {
            let query = Query { search: search.join(" "), provider, capabilities: capability, mode };
            told(if json { models::json(&query) } else { Ok(models::table(&query)) })
        }
        Command::Config { command: ConfigCommand::Convert { file, output } } => {
            convert(&file, output.as_deref()).map(|()| true)
        }
        Command::Import { command: ImportCommand::Litellm(asked) } => import::litellm(&asked),
        Command::Audit { command: AuditCommand::Key { gateway } } => told(signing_key(&gateway)),
        Command::Audit { command: AuditCommand::Export { gateway, dir: Some(dir), ledger, .. } } => {
            export_log(&gateway, &dir, ledger).map(|()| true)
        }
        Command::Audit { command: AuditCommand::Export { gateway, action_prefix, key_id, since, until, to, .. } } => {
            let filter = AuditFilter { key_id, action_prefix, ..AuditFilter::default() };
            export(&gateway, filter, [since, until], to.as_deref()).map(|()| true)
        }
        Command::Alerts { command: AlertsCommand::Test { config } } => test_alerts(&config),
        Command::Ledger { command: LedgerCommand::Remote(asked) } => return remote(tollgate_cli::ledger(asked)),
        Command::Ledger { command: LedgerCommand::Check { config, gateway } } => {
            check_ledger(config.as_deref(), &gateway)
        }
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            // Bad values are quoted, and some of them are secrets in the wrong place.
            eprintln!("tollgate: {}", tollgate_redact::redact(&format!("{error:#}")));
            ExitCode::FAILURE
        }
    }
}

/// How the program ends after a command that called a gateway.
fn remote(done: Result<(), tollgate_cli::Failure>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("tollgate: {}", failure.told());
            failure.exit_code()
        }
    }
}

fn serve(path: Option<PathBuf>, listen: Option<String>) -> anyhow::Result<()> {
    let mut config = config::load(path.as_deref())?;
    if let Some(listen) = listen {
        config.listen = listen;
    }
    telemetry::start(&config.log).map_err(anyhow::Error::msg)?;
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(app::run(config, path))
}

/// Never over a file that is there. Secrets of the source may stand in it.
fn convert(file: &Path, output: Option<&Path>) -> anyhow::Result<()> {
    use std::{io::Write, os::unix::fs::OpenOptionsExt};
    let (text, report) = config::convert(file)?;
    match output {
        None => say(&text),
        Some(output) => {
            let made = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(output);
            let mut made = made.with_context(|| output.display().to_string())?;
            made.write_all(text.as_bytes()).with_context(|| output.display().to_string())?;
        }
    }
    eprint!("{}", report.tell());
    Ok(())
}

/// Never over a file that is there.
fn init(config: Option<&Path>, file: &Path) -> anyhow::Result<()> {
    let named = config.context("--config: is required")?;
    let absolute = std::path::absolute(named)?;
    let text = scenario::starter(&config::load(Some(named))?, &absolute.display().to_string())?;
    let made = std::fs::OpenOptions::new().write(true).create_new(true).open(file);
    let mut made = made.with_context(|| file.display().to_string())?;
    std::io::Write::write_all(&mut made, text.as_bytes())?;
    say(&format!("{}: run it with `tollgate test {}`\n", file.display(), file.display()));
    Ok(())
}

fn test(
    config: Option<&Path>,
    seed: Option<u64>,
    json: Option<(&Path, bool)>,
    junit: Option<&Path>,
    paths: &[PathBuf],
) -> anyhow::Result<bool> {
    let mut verdicts = Vec::new();
    for path in scenario_files(paths)? {
        let mut wanted = scenario::read(&path)?;
        wanted.seed = seed.unwrap_or(wanted.seed);
        let dir = path.parent().unwrap_or(Path::new("."));
        let own = wanted.config.as_ref().map(|own| dir.join(own));
        let config = config::load(own.as_deref().or(config)).with_context(|| path.display().to_string())?;
        // To standard error, and only where that is a terminal.
        let style = ProgressStyle::with_template("{bar:40} {percent:>3} %  {pos}/{len} calls  {elapsed}  {msg}")?;
        let bar = ProgressBar::new(0).with_style(style).with_message(wanted.name.clone());
        let progress = |ended: usize, all: usize| {
            bar.set_length(all as u64);
            bar.set_position(ended as u64);
        };
        let verdict = scenario::run(&wanted, &config, dir, &progress).with_context(|| path.display().to_string())?;
        bar.finish_and_clear();
        if !verdict.passed() {
            say(&scenario::tell(&verdict));
        }
        verdicts.push(verdict);
    }
    say(&scenario::table(&verdicts));
    if let Some(file) = junit {
        std::fs::write(file, scenario::junit(&verdicts)).with_context(|| file.display().to_string())?;
    }
    let failed = verdicts.iter().filter(|verdict| !verdict.passed()).count();
    if let Some((file, calls)) = json {
        if !calls {
            verdicts.iter_mut().for_each(|verdict| verdict.outcomes.clear());
        }
        std::fs::write(file, serde_json::to_string_pretty(&verdicts)?).with_context(|| file.display().to_string())?;
    }
    say(&format!("{} scenarios, {failed} failed\n", verdicts.len()));
    Ok(failed == 0)
}

fn replay(config: &Path, from: &Path, json: Option<&Path>, calls: bool) -> anyhow::Result<()> {
    let config = config::load(Some(config))?;
    let name = from.display().to_string();
    let records = match name.as_str() {
        "-" => audit_export::read(std::io::stdin().lock(), "standard input")?,
        _ => audit_export::read(BufReader::new(File::open(from).with_context(|| name.clone())?), &name)?,
    };
    let mut comparison = scenario::replay(&records, &config).with_context(|| name)?;
    say(&scenario::compared(&comparison));
    if let Some(file) = json {
        if !calls {
            comparison.outcomes.clear();
        }
        std::fs::write(file, serde_json::to_string_pretty(&comparison)?).with_context(|| file.display().to_string())?;
    }
    Ok(())
}

fn export(
    gateway: &At,
    mut filter: AuditFilter,
    [since, until]: [Option<String>; 2],
    to: Option<&Path>,
) -> anyhow::Result<()> {
    let moment = |flag: &str, text: Option<String>| {
        let read = |text: String| {
            let time: jiff::Timestamp =
                text.parse().with_context(|| format!("{flag}: {text:?} is no RFC 3339 time"))?;
            anyhow::Ok(tollgate_domain::timestamp(time.as_microsecond()))
        };
        text.map(read).transpose()
    };
    (filter.start_time, filter.end_time) = (moment("--since", since)?, moment("--until", until)?);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let _entered = runtime.enter();
    let client = gateway.named()?;
    let bar = tollgate_cli::counter("records");
    let written = |count| bar.set_position(count);
    let count = match to {
        Some(file) => {
            let made = File::create(file).with_context(|| file.display().to_string())?;
            runtime.block_on(audit_export::export(&client, filter, BufWriter::new(made), written))?
        }
        None => runtime.block_on(audit_export::export(&client, filter, std::io::stdout().lock(), written))?,
    };
    bar.finish_and_clear();
    eprintln!("{count} records");
    Ok(())
}

fn signing_key(gateway: &At) -> anyhow::Result<String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let _entered = runtime.enter();
    Ok(format!("{}\n", runtime.block_on(audit_export::verifier_key(&gateway.named()?))?))
}

fn export_log(gateway: &At, dir: &Path, ledger: bool) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let _entered = runtime.enter();
    let bar = tollgate_cli::counter("files");
    let written = |count| bar.set_position(count);
    let files = runtime.block_on(audit_export::export_log(&gateway.named()?, dir, ledger, written))?;
    bar.finish_and_clear();
    eprintln!("{files} files");
    Ok(())
}

fn told(text: anyhow::Result<String>) -> anyhow::Result<bool> {
    say(&text?);
    Ok(true)
}

/// To standard output, which may have been closed by whoever has read enough.
fn say(text: &str) {
    use std::io::Write;
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// The files named, and those in the directories named, in the order of their names.
fn scenario_files(paths: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let listed = std::fs::read_dir(path).with_context(|| path.display().to_string())?;
        let mut inside: Vec<_> = listed.filter_map(|entry| Some(entry.ok()?.path())).collect();
        inside.retain(|file| file.extension().is_some_and(|e| e == "yaml" || e == "yml"));
        inside.sort();
        files.extend(inside);
    }
    anyhow::ensure!(!files.is_empty(), "there is no scenario in {paths:?}");
    Ok(files)
}

fn check_ledger(config: Option<&Path>, gateway: &At) -> anyhow::Result<bool> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let checked = runtime.block_on(async {
        match gateway.client()? {
            Some(client) => ledger_check::ask(&client).await,
            None => ledger_check::read(&config::load(config)?).await,
        }
    })?;
    Ok(ledger_check::tell(&checked))
}

fn test_alerts(path: &Path) -> anyhow::Result<bool> {
    let config = config::load(Some(path))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(tollgate::test_alerts(&config, |line| say(&format!("{line}\n"))))
}

fn check(path: PathBuf) -> anyhow::Result<()> {
    let config = config::load(Some(&path))?;
    tollgate::check_observing(&config)?;
    let (table, warnings) = build_table(&config, jiff::Timestamp::now().as_microsecond())?;
    if let Some(report) = &config.translation {
        print!("{}", report.tell());
    }
    for warning in config.without.iter().chain(&warnings) {
        println!("warning: {warning}");
    }
    let deployments: usize = table.groups.values().map(|g| g.deployments.len()).sum();
    println!(
        "{}: fine; {} models, {deployments} deployments, {} providers, {} keys, config hash {}",
        path.display(),
        table.groups.len(),
        config.providers.len(),
        config.keys.len(),
        &table.config_hash[..12],
    );
    Ok(())
}
