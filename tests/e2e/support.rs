//! What the cases share.

use std::{
    process::{ExitStatus, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tollgate_client::{Client, v1};
use tollgate_tests::{
    provider::ScriptedProvider,
    support::{
        Gateway, GatewayBuilder,
        gateway::{free_port, locate, signal},
        keys::virtual_key,
    },
};

/// The shim as a process of its own.
pub(crate) struct Shim {
    pub(crate) url: String,
    process: tokio::process::Child,
}

impl Shim {
    pub(crate) async fn before(gateway: &Gateway) -> Self {
        Self::with(gateway, &[]).await
    }

    /// ... with further arguments.
    pub(crate) async fn with(gateway: &Gateway, arguments: &[&str]) -> Self {
        let port = free_port().unwrap();
        let process = tokio::process::Command::new(locate().unwrap().with_file_name("tollgate-http"))
            .args(["--upstream", &gateway.grpc(), "--listen", &format!("127.0.0.1:{port}")])
            .args(arguments)
            .kill_on_drop(true)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let shim = Self { url: format!("http://127.0.0.1:{port}"), process };
        let (caller, ready) = (gateway.caller(), format!("{}/health/readiness", shim.url));
        eventually("the shim is ready", async || caller.get(&ready).await.is_ok_and(|r| r.status == 200)).await;
        shim
    }

    /// Asks the process to end, and waits at most this long for it.
    pub(crate) async fn sigterm(&mut self, patience: Duration) -> ExitStatus {
        signal(self.process.id().unwrap(), "TERM").unwrap();
        tokio::time::timeout(patience, self.process.wait()).await.expect("it ends in time").unwrap()
    }
}

/// A gateway over a provider, with an admin key beside the caller's. With `TOLLGATE_SHIM=standalone` REST goes through a shim of its own
/// process, so that the same cases run in both modes.
pub(crate) struct World {
    shim: Option<Shim>,
    pub(crate) provider: ScriptedProvider,
    pub(crate) gateway: Gateway,
    pub(crate) admin: String,
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::with(|builder| builder).await
    }

    pub(crate) async fn with(configure: impl FnOnce(GatewayBuilder) -> GatewayBuilder) -> Self {
        Self::with_provider(|builder, _| configure(builder)).await
    }

    /// Also tells where the provider is.
    pub(crate) async fn with_provider(configure: impl FnOnce(GatewayBuilder, &str) -> GatewayBuilder) -> Self {
        let provider = ScriptedProvider::start().await;
        let admin = virtual_key();
        let builder = Gateway::over(&provider).key(json!({"name": "admin", "secret": admin, "role": "platform_admin"}));
        let gateway = configure(builder, &provider.base_url()).start().await;
        let shim = match std::env::var("TOLLGATE_SHIM").as_deref() {
            Ok("standalone") => Some(Shim::before(&gateway).await),
            _ => None,
        };
        Self { shim, provider, gateway, admin }
    }

    /// URL of an OpenAI route.
    pub(crate) fn v1(&self, route: &str) -> String {
        match &self.shim {
            Some(shim) => format!("{}/v1/{route}", shim.url),
            None => self.gateway.v1(route),
        }
    }

    pub(crate) async fn caller(&self) -> Client {
        Client::connect(&self.gateway.grpc(), self.gateway.key()).await.unwrap()
    }

    pub(crate) async fn admin(&self) -> Client {
        Client::connect(&self.gateway.grpc(), &self.admin).await.unwrap()
    }

    /// Every ledger entry, oldest first.
    pub(crate) async fn entries(&self) -> Vec<v1::LedgerEntry> {
        let mut entries = Vec::new();
        let mut page_token = String::new();
        loop {
            let asked = v1::ListLedgerEntriesRequest { page_size: 1_000, page_token, ..Default::default() };
            let page = self.admin().await.budgets().list_ledger_entries(asked).await.unwrap().into_inner();
            entries.extend(page.entries);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return entries;
            }
        }
    }

    /// Every audit record, oldest first.
    pub(crate) async fn records(&self) -> Vec<v1::AuditRecord> {
        let mut stream =
            self.admin().await.audit().query_records(v1::QueryRecordsRequest::default()).await.unwrap().into_inner();
        let mut records = Vec::new();
        while let Some(response) = stream.message().await.unwrap() {
            records.extend(response.record);
        }
        records
    }

    /// The budget of the caller's key.
    pub(crate) async fn budget(&self) -> v1::Budget {
        let budgets = self.caller().await.budgets().get_budget(v1::GetBudgetRequest::default()).await;
        budgets.unwrap().into_inner().budget.unwrap()
    }
}

/// An OpenAI chat body.
pub(crate) fn hello(more: Value) -> Value {
    let mut body = json!({"model": "scripted", "messages": [{"role": "user", "content": "Say hello"}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

/// The same as a contract message.
pub(crate) fn request() -> v1::CompletionRequest {
    let text = v1::TextPart { text: "Say hello".into() };
    let part = v1::Part { content: Some(v1::part::Content::Text(text)), ..Default::default() };
    let message = v1::Message { role: v1::Role::User as i32, parts: vec![part], ..Default::default() };
    v1::CompletionRequest { model: Some("scripted".into()), messages: vec![message], ..Default::default() }
}

/// Waits until `holds` does, for at most twenty seconds: machines are busy.
pub(crate) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < Duration::from_secs(20), "{what}: not within twenty seconds");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Cost by the price of the scripted model: 0.15 and 0.60 dollars per million tokens, rounded up to the nano-dollar.
pub(crate) fn cost(prompt_tokens: u64, completion_tokens: u64) -> i64 {
    ((prompt_tokens * 150_000 + completion_tokens * 600_000).div_ceil(1_000)) as i64
}
