//! Lets a model call a tool, and answers it: `cargo run -p tollgate-client --example tools -- gpt`.

use std::env;

use tollgate_client::{
    Client, tool_result, user,
    v1::{FunctionTool, Tool, tool::Kind},
};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let client = Client::from_env().await?;
    let mut call = user(env::args().nth(1).unwrap_or_else(|| "demo".into()), "What is the weather in Lisbon?");
    let parameters = r#"{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}"#;
    let weather =
        FunctionTool { name: "weather".into(), parameters_json: Some(parameters.into()), ..FunctionTool::default() };
    call.tools.push(Tool { kind: Some(Kind::Function(weather)), ..Tool::default() });
    let mut answer = client.complete(call.clone()).await?;
    let calls = answer.tool_calls();
    if !calls.is_empty() {
        call.messages.extend(answer.message().cloned());
        for wanted in &calls {
            println!("{}({})", wanted.name, wanted.arguments_json);
            call.messages.push(tool_result(wanted, "21 degrees, sunny"));
        }
        answer = client.complete(call).await?;
    }
    println!("{}", answer.text());
    Ok(())
}
