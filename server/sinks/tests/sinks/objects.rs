//! Objects: in a directory, and in what speaks S3.

use std::path::Path;

use axum::http::{Method, StatusCode};
use serde_json::Value;
use tollgate_domain::Secret;
use tollgate_objects::{ObjectPlace, S3};
use tollgate_sinks::{Form, Kind, Objects};

use crate::support::{Receiver, Request, World, eventually, hasty, id};

/// S3 as far as `PutObject`: signed by version 4, with the body's hash.
pub(crate) fn s3_like() -> (&'static str, Receiver, Kind) {
    let receiver = Receiver::start(read_put, StatusCode::OK);
    let place = ObjectPlace::S3(S3 {
        bucket: "calls".into(),
        region: "eu-central-1".into(),
        endpoint: Some(receiver.url.clone()),
        key: Some((Secret::new("AKID"), Secret::new("secret"))),
        session_token: None,
    });
    ("s3", receiver, Kind::Objects(Objects { place, prefix: "gateway".into(), form: Form::Ndjson }))
}

fn read_put(request: &Request) -> Result<Vec<Value>, String> {
    if request.method != Method::PUT || !request.path.starts_with("/calls/gateway/2025/11/22/02/replica-1-") {
        return Err(format!("{} {}", request.method, request.path));
    }
    let signed = request.header("authorization");
    if !signed.starts_with("AWS4-HMAC-SHA256 Credential=AKID/") || !signed.contains("/eu-central-1/s3/aws4_request") {
        return Err(format!("authorization: {signed}"));
    }
    request.requires("content-type", "application/x-ndjson")?;
    lines(&request.body)
}

fn lines(body: &[u8]) -> Result<Vec<Value>, String> {
    let text = std::str::from_utf8(body).map_err(|e| e.to_string())?;
    text.lines().map(|line| serde_json::from_str(line).map_err(|e| e.to_string())).collect()
}

fn files(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

#[test]
fn a_directory_gets_files_by_date_and_hour_that_hold_everything_once() {
    let dir = tempfile::tempdir().unwrap();
    let local = |form| {
        let place = ObjectPlace::Local { dir: dir.path().to_owned() };
        Kind::Objects(Objects { place, prefix: format!("{form:?}"), form })
    };
    let sinks = [Form::Ndjson, Form::NdjsonGz, Form::Json].map(|form| hasty(&format!("{form:?}"), local(form)));
    let world = World::with(sinks.into());
    world.publish(0..25);
    for sink in 0..3 {
        eventually("they arrive", || world.stats(sink), |stats| stats.delivered == 25);
    }
    let plain = files(&dir.path().join("Ndjson/2025/11/22/02"));
    let ids: Vec<_> = plain.iter().flat_map(|file| lines(&std::fs::read(file).unwrap()).unwrap()).collect();
    let ids: Vec<_> = ids.iter().map(|event| event["id"].as_str().unwrap()).collect();
    assert_eq!(ids, (0..25).map(id).collect::<Vec<_>>());
    assert_eq!(files(&dir.path().join("Json/2025/11/22/02")).len(), 25);
    let zipped = files(&dir.path().join("NdjsonGz/2025/11/22/02"));
    assert!(zipped.iter().all(|file| std::fs::read(file).unwrap().starts_with(&[0x1f, 0x8b])), "{zipped:?}");
}

#[test]
fn a_repetition_makes_no_second_object() {
    let dir = tempfile::tempdir().unwrap();
    let place = ObjectPlace::Local { dir: dir.path().to_owned() };
    let kind = Kind::Objects(Objects { place, prefix: String::new(), form: Form::Ndjson });
    let mut world = World::with(vec![hasty("local", kind.clone())]);
    world.publish(0..10);
    eventually("they arrive", || world.stats(0), |stats| stats.delivered == 10);
    world.close(std::time::Duration::from_secs(1));
    world.start(vec![hasty("local", kind)]);
    world.publish(0..10);
    eventually("they arrive again", || world.stats(0), |stats| stats.delivered == 10);
    assert_eq!(files(dir.path()).len(), 1);
}
