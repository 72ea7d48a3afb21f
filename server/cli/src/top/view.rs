//! What the live view looks like.

use ratatui::{
    Frame, Terminal,
    backend::TestBackend,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::Line,
    widgets::{Block, Cell, Paragraph, Row, Sparkline, Table},
};
use tollgate_client::v1::{CircuitState, RouteState};

use super::{Asked, window::Window};
use crate::amount;

/// Draws the view.
pub(crate) fn draw(frame: &mut Frame<'_>, window: &Window, asked: &Asked) {
    let sums = window.sums();
    let models = (sums.len().max(2) + 2) as u16;
    let [head, rate, calls, deployments, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(6),
        Constraint::Length(models.min(16) + 1),
        Constraint::Min(4),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    let all = sums.get("");
    let (count, failed) = all.map_or((0, 0), |all| (all.calls, all.failed));
    let spent = asked.spend.total.as_ref().map_or(0, |total| total.cost_nano_usd);
    let told = format!(
        "tollgate top   {:.1} calls/s   {failed} failed of {count} in the last minute   p50 {} ms   p99 {} ms   {} in 24 h",
        count as f64 / 60.0,
        all.map_or(0, |all| all.duration_ms(50)),
        all.map_or(0, |all| all.duration_ms(99)),
        amount::dollars(spent),
    );
    frame.render_widget(Paragraph::new(Line::styled(told, Style::new().add_modifier(Modifier::BOLD))), head);
    let line = window.rate();
    let spark = Sparkline::default().data(&line).style(Style::new().fg(Color::Cyan));
    frame.render_widget(spark.block(Block::bordered().title("calls per second, last minute")), rate);
    frame.render_widget(models_table(window, asked), calls);
    frame.render_widget(deployments_table(&asked.states, deployments), deployments);
    let foot_text = if asked.trouble.is_empty() { "q ends".to_owned() } else { format!("old: {}", asked.trouble) };
    frame.render_widget(Paragraph::new(foot_text).style(Style::new().fg(Color::DarkGray)), foot);
}

fn models_table(window: &Window, asked: &Asked) -> Table<'static> {
    let spent = |model: &str| {
        let row = asked.spend.rows.iter().find(|row| row.group == model);
        row.map(|row| amount::dollars(row.cost_nano_usd)).unwrap_or_default()
    };
    let rows = window.sums().into_iter().filter(|(model, _)| !model.is_empty()).map(|(model, sums)| {
        let failed = Style::new().fg(if sums.failed > 0 { Color::Red } else { Color::Reset });
        Row::new([
            Cell::from(spent(&model)),
            Cell::from(model),
            Cell::from(sums.calls.to_string()),
            Cell::from(sums.failed.to_string()).style(failed),
            Cell::from(format!("{} ms", sums.duration_ms(50))),
            Cell::from(format!("{} ms", sums.duration_ms(99))),
            Cell::from(format!("{} ms", sums.first_ms(50))),
            Cell::from(sums.tokens.to_string()),
            Cell::from(amount::dollars(sums.cost_nano_usd)),
        ])
    });
    let mut rows: Vec<Row<'static>> = rows.collect();
    if rows.is_empty() {
        rows.push(Row::new(["", "no calls in the last minute"]));
    }
    let widths = [14, 24, 8, 8, 10, 10, 12, 10, 14].map(Constraint::Length);
    let head = ["24 H", "MODEL", "CALLS", "FAILED", "P50", "P99", "FIRST TOKEN", "TOKENS", "COST"];
    Table::new(rows, widths).header(heading(head)).block(Block::bordered().title("models, last minute"))
}

fn deployments_table(states: &[RouteState], area: Rect) -> Table<'static> {
    let room = area.height.saturating_sub(3) as usize;
    // Those in trouble first: they are what the view is looked at for.
    let mut states: Vec<&RouteState> = states.iter().collect();
    states.sort_by_key(|state| (state.circuit() == CircuitState::Closed, state.failures == 0));
    let rows = states.into_iter().take(room).map(|state| {
        let (word, color) = match state.circuit() {
            CircuitState::Open => ("cooling down", Color::Red),
            CircuitState::HalfOpen => ("probing", Color::Yellow),
            CircuitState::Closed | CircuitState::Unspecified => ("up", Color::Green),
        };
        let left = state.cooldown_left_ms.map(|ms| format!("{:.0} s, {}", ms as f64 / 1_000.0, state.cooldown_class));
        Row::new([
            Cell::from(state.deployment.clone()),
            Cell::from(word).style(Style::new().fg(color)),
            Cell::from(left.unwrap_or_default()),
            Cell::from(state.in_flight.to_string()),
            Cell::from(state.requests.to_string()),
            Cell::from(state.failures.to_string()),
            Cell::from(state.latency_us.map(|us| format!("{} ms", us / 1_000)).unwrap_or_default()),
        ])
    });
    let widths = [40, 14, 18, 10, 10, 10, 10].map(Constraint::Length);
    let head = ["DEPLOYMENT", "HEALTH", "COOLDOWN", "IN FLIGHT", "REQUESTS", "FAILURES", "LATENCY"];
    Table::new(rows.collect::<Vec<_>>(), widths).header(heading(head)).block(Block::bordered().title("deployments"))
}

fn heading<const N: usize>(names: [&'static str; N]) -> Row<'static> {
    Row::new(names).style(Style::new().add_modifier(Modifier::DIM))
}

/// The view as text, for a program or a page.
pub(crate) fn text(window: &Window, asked: &Asked, width: u16, height: u16) -> String {
    let Ok(mut terminal) = Terminal::new(TestBackend::new(width, height));
    let Ok(_) = terminal.draw(|frame| draw(frame, window, asked));
    let buffer = terminal.backend().buffer();
    let lines = buffer.content.chunks(width as usize).map(|row| {
        let line: String = row.iter().map(ratatui::buffer::Cell::symbol).collect();
        line.trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n") + "\n"
}
