//! The first start: keys that nobody has to make, and commands to paste.

use std::{
    fmt::Write as _,
    fs,
    io::{self, Write as _},
    path::Path,
};

use tollgate_control::Control;
use tollgate_pipeline::{KeyRing, KeySecret};
use tollgate_proto::v1::{Key, KeyRole};

use crate::{
    config::{Config, Deployment, Model, Provider},
    secrets,
};

/// File of the admin key, below the data directory.
pub(crate) const ADMIN_KEY: &str = "admin.key";
/// File of the demo key.
pub(crate) const DEMO_KEY: &str = "demo.key";

/// What a gateway without any configuration serves: the built-in simulated provider.
pub(crate) fn demo_config(config: &mut Config) {
    let provider = Provider {
        kind: "demo".into(),
        base_url: None,
        api_key: None,
        headers: Default::default(),
        timeouts: Default::default(),
        health_check: None,
        fetch_urls: None,
        api_version: None,
        entra: None,
        region: None,
        aws: None,
        project: None,
        location: None,
        google: None,
        budget: None,
    };
    config.providers.insert("demo".into(), provider);
    for &name in tollgate_providers::demo::MODELS {
        config.models.push(Model {
            name: name.into(),
            aliases: Vec::new(),
            deployments: vec![Deployment {
                name: Some(name.into()),
                provider: "demo".into(),
                model: name.into(),
                base_model: None,
                weight: 1,
                order: 0,
                tags: Vec::new(),
                region: None,
                // Pretended, so that budgets and spend have something to show.
                price: Some(crate::config::Price {
                    input: Some("1".into()),
                    output: Some("4".into()),
                    ..Default::default()
                }),
                context_window: Some(128_000),
                max_output_tokens: Some(4_096),
                capabilities: None,
                drop_params: None,
                budget: None,
                defaults: Default::default(),
                limits: None,
            }],
            strategy: Default::default(),
            fallbacks: Vec::new(),
            context_window_fallbacks: Vec::new(),
            content_policy_fallbacks: Vec::new(),
            cooldown: None,
            retry_budget: Default::default(),
            retries_by_class: Default::default(),
            sticky: None,
            mirror: None,
            on_midstream_failure: Default::default(),
            retries: 2,
            limits: None,
        });
    }
}

/// A key that was minted by this start.
pub(crate) struct Fresh {
    pub(crate) file: &'static str,
    secret: KeySecret,
}

/// Mints the admin key, and the demo key where wanted, if no key exists yet. The secrets go to files of mode 600 first.
pub(crate) async fn mint(control: &Control, keyring: &KeyRing, dir: &Path, demo: bool) -> anyhow::Result<Vec<Fresh>> {
    let mut fresh = Vec::new();
    if !keyring.is_empty() {
        return Ok(fresh);
    }
    let mut wanted = vec![(ADMIN_KEY, "admin", KeyRole::PlatformAdmin, vec![])];
    if demo {
        wanted.push((DEMO_KEY, "demo", KeyRole::Caller, vec!["*".to_owned()]));
    }
    for (file, name, role, models) in wanted {
        let secret = KeySecret::generate(&mut rand::rng());
        secrets::write_private(&dir.join(file), format!("{}\n", secret.expose()).as_bytes())?;
        let key = Key { display_name: name.into(), role: role as i32, models, ..Key::default() };
        let budget = demo.then_some(5_000_000_000).filter(|_| role == KeyRole::Caller);
        control.provision(key, &secret, budget).await?;
        fresh.push(Fresh { file, secret });
    }
    Ok(fresh)
}

/// Greets: where it listens, the keys when they are new, and commands to paste. Standard output that takes nothing is no reason to end.
pub(crate) fn greet(base: &str, dir: &Path, fresh: &[Fresh], demo: bool) {
    let _ = io::stdout().write_all(greeting(base, dir, fresh, demo).as_bytes());
}

fn greeting(base: &str, dir: &Path, fresh: &[Fresh], demo: bool) -> String {
    // Writing into a string cannot fail.
    let mut text = format!("Tollgate {} listens on {base} (gRPC, gRPC-Web, REST)\n", env!("CARGO_PKG_VERSION"));
    for key in fresh {
        let _ = writeln!(
            text,
            "  new {}: {}   (shown once; kept in {})",
            key.file,
            key.secret.expose(),
            dir.join(key.file).display()
        );
    }
    if !demo || fs::metadata(dir.join(DEMO_KEY)).is_err() {
        return text;
    }
    let key_file = dir.join(DEMO_KEY);
    let key_file = key_file.display();
    let _ = writeln!(
        text,
        r#"
Try it:

  # curl, streamed
  curl -N {base}/v1/chat/completions -H "authorization: Bearer $(cat {key_file})" -H "content-type: application/json" \
    -d '{{"model": "demo", "stream": true, "messages": [{{"role": "user", "content": "Say hello"}}]}}'

  # Python, OpenAI SDK (pip install openai)
  python3 - <<'END'
from openai import OpenAI
client = OpenAI(base_url="{base}/v1", api_key=open("{key_file}").read().strip())
for chunk in client.chat.completions.create(model="demo", stream=True, messages=[{{"role": "user", "content": "Say hello"}}]):
    print(chunk.choices[0].delta.content or "", end="", flush=True)
END

  # gRPC, through reflection (npm package @bufbuild/buf)
  npx @bufbuild/buf curl --protocol grpc --http2-prior-knowledge -H "authorization: Bearer $(cat {key_file})" \
    -d '{{"request": {{"model": "demo", "messages": [{{"role": "ROLE_USER", "parts": [{{"text": {{"text": "Say hello"}}}}]}}]}}}}' \
    {base}/tollgate.v1.CompletionService/StreamCompletion
"#
    );
    text
}
