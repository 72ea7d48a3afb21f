//! What an answer costs to read, and a request to splice.

#![allow(clippy::unwrap_used)] // a benchmark says by panicking

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tollgate_proto::v1::{CompletionRequest, Dialect};
use tollgate_providers::{ChatCall, Mode, Target, credential::Credential, json, registry::registry};

fn benches(c: &mut Criterion) {
    for (kind, file) in [("openai", "text_stream"), ("anthropic", "text_stream"), ("gemini", "text_stream")] {
        let path = format!("{}/fixtures/{kind}/{file}.body.sse", env!("CARGO_MANIFEST_DIR"));
        let body = Bytes::from(std::fs::read(path).unwrap());
        let provider = registry(kind).unwrap();
        let target = Target {
            base_url: String::new(),
            api_version: None,
            credential: Credential::None,
            model: "m".into(),
            headers: Default::default(),
        };
        let request = CompletionRequest::default();
        let call = ChatCall { want_native: Dialect::OpenaiChat, ..ChatCall::new(&request, Mode::Stream) };
        let mut group = c.benchmark_group("decode a stream");
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(kind, |b| {
            b.iter(|| {
                let mut decoder = provider.chat().unwrap().decoder(&target, &call);
                let mut events = Vec::new();
                decoder.feed(&body, &mut events).unwrap();
                decoder.end(&mut events).unwrap();
                black_box(events)
            });
        });
        group.finish();
    }
    let mut group = c.benchmark_group("splice a request");
    for size in [500, 200_000] {
        let text = "word ".repeat(size / 5);
        let body = format!(r#"{{"model":"alias","messages":[{{"role":"user","content":"{text}"}}],"stream":true}}"#);
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(format!("{size} B"), |b| {
            b.iter(|| {
                json::edit(black_box(body.as_bytes()), &[("model", Some(r#""m""#.into())), ("stream", None)]).unwrap()
            });
        });
    }
    group.finish();
}

criterion_group!(group, benches);
criterion_main!(group);
