//! `tollgate top`: a live view of a gateway.

mod view;
mod window;

use std::{io::IsTerminal, time::Duration};

use clap::Args;
use crossterm::event::{Event as Input, EventStream, KeyCode, KeyEventKind, KeyModifiers};
use futures::{FutureExt, StreamExt, TryStreamExt};
use tollgate_client::v1::{self, GetSpendRequest, SpendGroup, TailRecordsRequest};

use crate::{Connection, Failure, output::print, route, time};
use window::Window;

/// How often what is not streamed is asked anew.
const REFRESH: Duration = Duration::from_secs(2);

/// A live view.
#[derive(Args, Debug)]
pub struct TopArgs {
    /// Prints the view once, after so many seconds of looking, instead of taking the terminal.
    #[arg(long, value_name = "SECONDS")]
    once: Option<u64>,
    #[command(flatten)]
    connection: Connection,
}

/// What is asked again and again.
#[derive(Default)]
pub(crate) struct Asked {
    pub(crate) states: Vec<v1::RouteState>,
    pub(crate) spend: v1::GetSpendResponse,
    /// Why the last question failed, or empty.
    pub(crate) trouble: String,
}

/// Runs `tollgate top`.
pub(crate) async fn run(args: TopArgs) -> Result<(), Failure> {
    let client = args.connection.client()?;
    let mut records = client.audit().tail(TailRecordsRequest::default()).await?.boxed();
    let (mut window, mut asked) = (Window::default(), Asked::default());
    if let Some(seconds) = args.once {
        let end = tokio::time::sleep(Duration::from_secs(seconds));
        tokio::pin!(end);
        loop {
            tokio::select! {
                record = records.try_next() => match record? {
                    Some(record) => window.take(&record),
                    None => break,
                },
                () = &mut end => break,
            }
        }
        ask(&client, &mut asked).await;
        return print(&view::text(&window, &asked, 120, 40));
    }
    if !std::io::stdout().is_terminal() {
        return Err(Failure::Usage("the live view needs a terminal; --once SECONDS prints it".into()));
    }
    let mut terminal = ratatui::init();
    let shown = watch(&client, &mut terminal, &mut records, &mut window, &mut asked).await;
    ratatui::restore();
    shown
}

async fn watch<S>(
    client: &tollgate_client::Client,
    terminal: &mut ratatui::DefaultTerminal,
    records: &mut S,
    window: &mut Window,
    asked: &mut Asked,
) -> Result<(), Failure>
where
    S: futures::Stream<Item = Result<v1::AuditRecord, tollgate_client::Error>> + Unpin,
{
    let mut inputs = EventStream::new();
    let mut refresh = tokio::time::interval(REFRESH);
    let mut frame = tokio::time::interval(Duration::from_millis(250));
    loop {
        tokio::select! {
            record = records.try_next() => match record? {
                Some(record) => window.take(&record),
                None => return Ok(()),
            },
            _ = refresh.tick() => ask(client, asked).await,
            _ = frame.tick() => {
                // All that has come in the meantime belongs to this frame.
                while let Some(Some(record)) = records.next().now_or_never() {
                    window.take(&record?);
                }
                window.forget();
                terminal.draw(|frame| view::draw(frame, window, asked))?;
            }
            input = inputs.next() => match input {
                Some(Ok(Input::Key(key))) if key.kind == KeyEventKind::Press => {
                    let interrupt = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
                    if interrupt || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc) {
                        return Ok(());
                    }
                }
                Some(Err(error)) => return Err(error.into()),
                None => return Ok(()),
                Some(Ok(_)) => {}
            },
        }
    }
}

async fn ask(client: &tollgate_client::Client, asked: &mut Asked) {
    let today = GetSpendRequest {
        start_time: time::past("1d").ok(),
        group_by: SpendGroup::Model.into(),
        ..GetSpendRequest::default()
    };
    let (models, spend) = (client.models(), client.spend());
    match tokio::try_join!(route::states(&models, ""), spend.get(today)) {
        Ok((states, spend)) => *asked = Asked { states, spend, trouble: String::new() },
        // What is shown stays, and says that it is old.
        Err(error) => asked.trouble = error.to_string(),
    }
}
