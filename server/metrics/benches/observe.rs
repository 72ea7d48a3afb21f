//! What counting a call costs: one attempt, billed, streamed.

#![allow(missing_docs)]

use criterion::{Criterion, criterion_group, criterion_main};
use tollgate_metrics::{Ended, Format, Metrics, Page, Payer};
use tollgate_proto::v1::{Attempt, AuditRecord, Candidate, InputUsage, OutputUsage, Routing, Usage};

fn record(deployment: usize) -> AuditRecord {
    let usage = Usage {
        input: Some(InputUsage { total: 1_000, cached_read: 200, ..InputUsage::default() }),
        output: Some(OutputUsage { total: 300, ..OutputUsage::default() }),
        cost_nano_usd: 330_000,
        ..Usage::default()
    };
    let name = format!("gpt-4o-at-openai-{deployment}");
    let attempt = Attempt {
        deployment: name.clone(),
        provider: "openai".into(),
        class: "ok".into(),
        start_us: 90,
        first_content_us: Some(400_000),
        end_us: 3_000_000,
        usage: Some(usage.clone()),
        ..Attempt::default()
    };
    let candidates = vec![Candidate { deployment: name, model: "gpt-4o".into(), ..Candidate::default() }];
    AuditRecord {
        action: "completion.stream".into(),
        model: "gpt-4o".into(),
        routing: Some(Routing { attempts: vec![attempt], candidates, ..Routing::default() }),
        usage: Some(usage),
        duration_us: 3_000_100,
        ..AuditRecord::default()
    }
}

fn observe(criterion: &mut Criterion) {
    let (metrics, records): (_, Vec<_>) = (Metrics::default(), (0..40).map(record).collect());
    let teams: Vec<_> = (0..25).map(|n| format!("team-{n}")).collect();
    let calls: Vec<_> = records
        .iter()
        .flat_map(|record| {
            teams.iter().map(move |team| Ended {
                record,
                error: None,
                known_as: &|_| Some("gpt-4o"),
                payer: Payer { team, ..Payer::default() },
                admitted_us: Some(60),
                replayed: false,
            })
        })
        .collect();
    let mut next = calls.iter().cycle();
    criterion.bench_function("a call of one attempt, 40 deployments and 25 teams", |b| {
        b.iter(|| next.next().map(|call| metrics.ended(call)));
    });
    criterion.bench_function("an exposition of it", |b| {
        b.iter(|| {
            let mut page = Page::default();
            metrics.put(&mut page);
            page.text(Format::OpenMetrics).len()
        });
    });
}

criterion_group!(benches, observe);
criterion_main!(benches);
