//! `tollgate audit export`: audit records as lines of JSON, in protobuf's own mapping.

use std::{
    fs::File,
    io::{BufRead, BufWriter, Write},
    path::{Component, Path},
};

use anyhow::Context;
use tollgate_client::{Client, json};
use tollgate_proto::v1::{AuditFilter, AuditRecord, ExportLogRequest, ListLogsRequest, QueryRecordsRequest};

/// Writes the records that a running gateway has, with an admin's or auditor's key. Tells of each by its number, and returns how many there
/// were.
pub async fn export(
    client: &Client,
    filter: AuditFilter,
    mut to: impl Write,
    written: impl Fn(u64),
) -> anyhow::Result<u64> {
    let asked = QueryRecordsRequest { filter: Some(filter), ..QueryRecordsRequest::default() };
    let mut records = client.audit().query_records(asked).await.map_err(refused)?.into_inner();
    let mut count = 0;
    while let Some(response) = records.message().await.map_err(refused)? {
        let Some(record) = response.record else { continue };
        writeln!(to, "{}", json::to_string(&record)?)?;
        count += 1;
        written(count);
    }
    to.flush()?;
    Ok(count)
}

/// The key that signs a running gateway's audit log, with a platform admin's key.
pub async fn verifier_key(client: &Client) -> anyhow::Result<String> {
    let logs = client.audit().list_logs(ListLogsRequest {}).await.map_err(refused)?;
    Ok(logs.into_inner().verifier_key)
}

/// Writes a running gateway's audit log below `dir`, with a platform admin's key. Tells of each file by its number, and returns how many there
/// were.
pub async fn export_log(
    client: &Client,
    dir: &Path,
    include_ledger: bool,
    written: impl Fn(u64),
) -> anyhow::Result<u64> {
    let mut pieces =
        client.audit().export_log(ExportLogRequest { include_ledger }).await.map_err(refused)?.into_inner();
    let mut open: Option<(String, BufWriter<File>)> = None;
    let mut count = 0;
    while let Some(piece) = pieces.message().await.map_err(refused)? {
        let file = match &mut open {
            Some((path, file)) if *path == piece.path => file,
            _ => {
                if let Some((path, mut file)) = open.take() {
                    file.flush().with_context(|| path)?;
                }
                count += 1;
                written(count);
                let made = create(dir, &piece.path)?;
                &mut open.insert((piece.path.clone(), BufWriter::new(made))).1
            }
        };
        file.write_all(&piece.data).with_context(|| piece.path)?;
    }
    if let Some((path, mut file)) = open {
        file.flush().with_context(|| path)?;
    }
    Ok(count)
}

fn refused(status: tonic::Status) -> anyhow::Error {
    anyhow::anyhow!("{}", status.message())
}

/// A file of an export. What a gateway names lies below the directory, or is refused.
fn create(dir: &Path, path: &str) -> anyhow::Result<File> {
    let is_below = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    anyhow::ensure!(
        is_below && !path.is_empty(),
        "the gateway names the file {path:?}, which is not below the directory"
    );
    let file = dir.join(path);
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    File::create(&file).with_context(|| file.display().to_string())
}

/// The records of an export, which is named in errors by `name`.
pub fn read(from: impl BufRead, name: &str) -> anyhow::Result<Vec<AuditRecord>> {
    let mut records = Vec::new();
    for (at, text) in from.lines().enumerate() {
        let text = text.with_context(|| format!("{name}:{}", at + 1))?;
        if !text.trim().is_empty() {
            records.push(json::from_str(&text).with_context(|| format!("{name}:{}: no audit record", at + 1))?);
        }
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use tollgate_proto::v1::{Attempt, RouteNeeds, Routing};

    use super::*;

    #[test]
    fn a_record_comes_back_as_it_was() {
        let routing = Routing {
            seed: u64::MAX,
            needs: Some(RouteNeeds { sticky: Some(u64::MAX - 1), tags: vec!["a".into()], ..RouteNeeds::default() }),
            attempts: vec![Attempt { head_us: Some(0), class: "ok".into(), ..Attempt::default() }],
            ..Routing::default()
        };
        let record = AuditRecord {
            sequence: 7,
            request_commitment: vec![0, 255].into(),
            routing: Some(routing),
            error_reason: 3,
            ..AuditRecord::default()
        };
        let text = json::to_string(&record).unwrap();
        assert!(text.contains(r#""sequence":"7""#), "protobuf's mapping writes 64 bits as a string: {text}");
        assert_eq!(read(text.as_bytes(), "export").unwrap(), [record]);
    }

    #[test]
    fn a_line_that_is_no_record_is_named() {
        let error = read(&b"{}\n\n{\"colour\": \"red\"}\n"[..], "export.jsonl").unwrap_err();
        assert!(format!("{error:#}").contains("export.jsonl:3"), "{error:#}");
    }
}
