//! `tollgate chat`: one question, or a conversation.

use std::io::{IsTerminal, Read, stdin};

use clap::Args;
use futures::TryStreamExt;
use rustyline::{DefaultEditor, error::ReadlineError};
use tollgate_client::{
    Answer, Client,
    v1::{CompletionRequest, Message, Part, Role, TextPart, completion_event::Event, delta::Piece, part::Content},
};

use crate::{
    Connection, Failure, amount,
    output::{Output, print},
};

/// A call, or a conversation.
#[derive(Args, Debug)]
pub struct ChatArgs {
    /// The model.
    model: String,
    /// The question; `-`: standard input. Without one a conversation begins.
    prompt: Option<String>,
    /// What the model is told first.
    #[arg(long)]
    system: Option<String>,
    /// Output limit, in tokens.
    #[arg(long)]
    max_output_tokens: Option<i64>,
    /// Sampling temperature, 0 to 2.
    #[arg(long)]
    temperature: Option<f64>,
    /// Shows what the model thinks, where it tells.
    #[arg(long)]
    reasoning: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Runs `tollgate chat`.
pub(crate) async fn run(args: ChatArgs) -> Result<(), Failure> {
    let client = args.connection.client()?;
    if args.connection.output() == Output::Csv {
        return Err(Failure::Usage("an answer has no columns: give --output json or yaml".into()));
    }
    let mut call = CompletionRequest {
        model: Some(args.model.clone()),
        max_output_tokens: args.max_output_tokens,
        temperature: args.temperature,
        ..CompletionRequest::default()
    };
    call.messages.extend(args.system.as_deref().map(|text| message(Role::System, text)));
    if let Some(prompt) = &args.prompt {
        let mut text = prompt.clone();
        if text == "-" {
            text.clear();
            stdin().read_to_string(&mut text)?;
        }
        call.messages.push(message(Role::User, &text));
        let answer = say(&client, &call, &args).await?;
        return match args.connection.output() {
            Output::Table => Ok(()),
            _ => args.connection.printer().whole(&answer.0),
        };
    }
    if !stdin().is_terminal() {
        return Err(Failure::Usage("a conversation needs a terminal; give the question, or - to read it".into()));
    }
    converse(&client, call, &args).await
}

/// Turns until the end of input; a turn that is interrupted, or fails, is not part of the conversation.
async fn converse(client: &Client, mut call: CompletionRequest, args: &ChatArgs) -> Result<(), Failure> {
    let mut editor = DefaultEditor::new().map_err(|error| Failure::Other(error.to_string()))?;
    eprintln!("Ctrl-C interrupts an answer, Ctrl-D ends. /clear forgets what was said.");
    let mut cost = 0;
    let start = call.messages.len();
    loop {
        let line = match editor.readline("> ") {
            Ok(line) if line.trim().is_empty() => continue,
            Ok(line) => line,
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(Failure::Other(error.to_string())),
        };
        // The history of the editor is this conversation's alone; that it cannot be kept does no harm.
        let _kept = editor.add_history_entry(&line);
        if line.trim() == "/clear" {
            call.messages.truncate(start);
            continue;
        }
        call.messages.push(message(Role::User, &line));
        let answer = tokio::select! {
            answer = say(client, &call, args) => answer,
            _ = tokio::signal::ctrl_c() => {
                println!();
                call.messages.pop();
                continue;
            }
        };
        match answer {
            Ok(answer) => {
                cost += answer.usage().map_or(0, |usage| usage.cost_nano_usd);
                call.messages.extend(answer.message().cloned());
            }
            Err(failure) => {
                call.messages.pop();
                eprintln!("tollgate: {}", failure.told());
            }
        }
    }
    eprintln!("\n{}", amount::dollars(cost));
    Ok(())
}

/// Makes the call and prints the answer as it comes; what it cost goes to standard error.
async fn say(client: &Client, call: &CompletionRequest, args: &ChatArgs) -> Result<Answer, Failure> {
    let people = args.connection.output() == Output::Table;
    let mut events = client.stream(call.clone()).await?;
    let mut thinking = false;
    while let Some(event) = events.try_next().await? {
        let Some(event) = event.event else { continue };
        match event {
            Event::Delta(delta) if people && delta.choice == 0 => match delta.piece {
                Some(Piece::Text(text) | Piece::Refusal(text)) => {
                    if std::mem::take(&mut thinking) {
                        eprintln!("\n");
                    }
                    print(&text)?;
                }
                Some(Piece::Reasoning(text)) if args.reasoning => {
                    thinking = true;
                    eprint!("{text}");
                }
                _ => {}
            },
            Event::Restarted(restarted) if people => eprintln!("\n[the answer starts over: {}]", restarted.reason),
            _ => {}
        }
    }
    let answer = events.collect().await?;
    if people {
        print("\n")?;
        let usage = answer.usage().cloned().unwrap_or_default();
        let deployment = answer.0.started.as_ref().map(|started| started.deployment.as_str()).unwrap_or_default();
        let tokens = |read: Option<u64>, written: Option<u64>| (read.unwrap_or(0), written.unwrap_or(0));
        let (read, written) = tokens(usage.input.map(|input| input.total), usage.output.map(|output| output.total));
        eprintln!("[{deployment}, {read} + {written} tokens, {}]", amount::dollars(usage.cost_nano_usd));
    }
    Ok(answer)
}

fn message(role: Role, text: &str) -> Message {
    let part = Part { content: Some(Content::Text(TextPart { text: text.to_owned() })), ..Part::default() };
    Message { role: role.into(), parts: vec![part], ..Message::default() }
}
