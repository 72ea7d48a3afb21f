//! `tollgate route`: where calls go, and how deployments are doing.

use clap::Subcommand;
use futures::{StreamExt, TryStreamExt, stream};
use tollgate_client::{
    Error, Models, user,
    v1::{Candidate, ExplainRouteResponse, GatewayOptions, RouteState},
};

use crate::{
    Connection, Failure,
    edit::word,
    output::{Output, Row, print},
};

/// Commands about routing.
#[derive(Subcommand, Debug)]
pub enum RouteCommand {
    /// Tells where a call would go, and why, without making it.
    Explain {
        /// The model.
        model: String,
        /// What the user says in it.
        #[arg(long, default_value = "Hello.")]
        prompt: String,
        /// A tag of the call. May be given several times.
        #[arg(long = "tag")]
        tags: Vec<String>,
        /// Only deployments of this region.
        #[arg(long, default_value = "")]
        region: String,
        /// Output limit of the call, in tokens.
        #[arg(long)]
        max_output_tokens: Option<i64>,
        #[command(flatten)]
        /// Which gateway.
        connection: Connection,
    },
    /// Shows how deployments are doing: circuit, calls in flight, latency.
    State {
        /// Only those of this model.
        #[arg(default_value = "")]
        model: String,
        #[command(flatten)]
        /// Which gateway.
        connection: Connection,
    },
}

impl Row for RouteState {
    const COLUMNS: &'static [&'static str] = &[
        "deployment",
        "circuit",
        "cooldown",
        "in flight",
        "requests",
        "failures",
        "latency",
        "requests left",
        "tokens left",
    ];

    fn cells(&self) -> Vec<String> {
        let left =
            |left: Option<&tollgate_client::v1::LimitLeft>| left.map(|l| l.remaining.to_string()).unwrap_or_default();
        let cooldown =
            self.cooldown_left_ms.map(|ms| format!("{:.1} s ({})", ms as f64 / 1_000.0, self.cooldown_class));
        vec![
            self.deployment.clone(),
            word(self.circuit().as_str_name(), "CIRCUIT_STATE_"),
            cooldown.unwrap_or_default(),
            self.in_flight.to_string(),
            self.requests.to_string(),
            self.failures.to_string(),
            self.latency_us.map(|us| format!("{} ms", us / 1_000)).unwrap_or_default(),
            left(self.requests_left.as_ref()),
            left(self.tokens_left.as_ref()),
        ]
    }
}

impl Row for Candidate {
    const COLUMNS: &'static [&'static str] = &["deployment", "model", "reason"];

    fn cells(&self) -> Vec<String> {
        vec![self.deployment.clone(), self.model.clone(), self.reason.clone()]
    }
}

/// Runs a command about routing.
pub(crate) async fn run(command: RouteCommand) -> Result<(), Failure> {
    match command {
        RouteCommand::State { model, connection } => {
            connection.printer().rows(&states(&connection.client()?.models(), &model).await?)
        }
        RouteCommand::Explain { model, prompt, tags, region, max_output_tokens, connection } => {
            let mut call = user(model, prompt);
            call.max_output_tokens = max_output_tokens;
            call.tollgate = Some(GatewayOptions { tags, region, ..GatewayOptions::default() });
            let models = connection.client()?.models();
            let told = Box::pin(models.explain(call)).await?;
            match connection.output() {
                Output::Table => print(&explained(&told)),
                Output::Csv => connection.printer().rows(&told.order),
                Output::Json | Output::Yaml => connection.printer().whole(&told),
            }
        }
    }
}

/// How the deployments of a model are doing; of all that the key may use where none is named, each once.
pub(crate) async fn states(models: &Models, model: &str) -> Result<Vec<RouteState>, Error> {
    if !model.is_empty() {
        return models.route_state(model).await;
    }
    let names: Vec<String> = models.list().map_ok(|model| model.name).try_collect().await?;
    // A name with stars stands for models that it knows only when they are asked for.
    let asked = names.iter().filter(|name| !name.contains('*')).map(|name| models.route_state(name));
    let told: Vec<Vec<RouteState>> = stream::iter(asked).buffered(8).try_collect().await?;
    let mut all: Vec<RouteState> = told.into_iter().flatten().collect();
    all.sort_by(|a, b| a.deployment.cmp(&b.deployment));
    all.dedup_by(|a, b| a.deployment == b.deployment);
    Ok(all)
}

/// The order in which deployments would be tried, and why others would not.
fn explained(told: &ExplainRouteResponse) -> String {
    let mut text = String::new();
    for (at, candidate) in told.order.iter().enumerate() {
        text += &format!("{}. {}  {}\n", at + 1, candidate.deployment, candidate.reason);
    }
    if told.order.is_empty() {
        text += "nobody may serve this call\n";
    }
    for candidate in &told.left_out {
        text += &format!("-  {}  {}\n", candidate.deployment, candidate.reason);
    }
    text
}
