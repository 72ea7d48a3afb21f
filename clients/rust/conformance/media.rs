//! Calls that a case may ask for about sound, images, files and batches.

use std::{path::PathBuf, time::Duration};

use futures::{StreamExt, TryStreamExt};
use serde_json::{Value, json};
use tollgate_client::{Client, Error, Speech, Upload, json as proto_json, v1};
use uuid::Uuid;

use crate::{
    Call, Sent,
    calls::{asked, failed, items, nothing, now_ms, told},
    saw,
};

pub(crate) async fn once(client: &Client, call: &Call) -> anyhow::Result<Value> {
    let take = call.take.unwrap_or(usize::MAX);
    let mut uploads: Vec<_> = call.uploads.iter().map(upload).collect();
    Ok(match call.what.as_str() {
        "speak" => match client.audio().speak(asked(call)?).await {
            Ok(speech) => spoken(speech, call).await?,
            Err(error) => failed(&error),
        },
        "transcribe" => match client.audio().transcribe(asked(call)?, uploads.remove(0)).await {
            Ok(heard) => json!({
                "answer": proto_json::to_value(&heard.transcript)?,
                "usage": heard.usage.as_ref().map(saw::usage),
                "receipt": saw::receipt(heard.receipt.as_ref()),
            }),
            Err(error) => failed(&error),
        },
        "generate_image" => told(client.images().generate(asked(call)?).await)?,
        "edit_image" => {
            let (mut images, mut mask) = (Vec::new(), None);
            for (sent, file) in call.uploads.iter().zip(uploads) {
                if sent.field == "mask" { mask = Some(file) } else { images.push(file) }
            }
            match client.images().edit(asked(call)?, images, mask).await {
                Ok(edited) => {
                    let images: Result<Vec<_>, _> = edited.images.iter().map(proto_json::to_value).collect();
                    json!({
                        "answer": {"images": images?},
                        "usage": edited.usage.as_ref().map(saw::usage),
                        "receipt": saw::receipt(edited.receipt.as_ref()),
                    })
                }
                Err(error) => failed(&error),
            }
        }
        "upload_file" => told(client.files().upload(asked(call)?, uploads.remove(0)).await)?,
        "get_file" => told(client.files().get(&asked::<v1::GetFileRequest>(call)?.id).await)?,
        "list_files" => items(client.files().list(asked(call)?), take).await?,
        "delete_file" => nothing(client.files().delete(&asked::<v1::DeleteFileRequest>(call)?.id).await),
        "file_content" => {
            let path = somewhere();
            let done = client.files().save_content(&asked::<v1::GetFileContentRequest>(call)?.id, &path).await;
            written(&path, done.err().as_ref())?
        }
        "create_batch" => told(client.batches().create(asked(call)?).await)?,
        "cancel_batch" => told(client.batches().cancel(&asked::<v1::CancelBatchRequest>(call)?.id).await)?,
        "list_batches" => items(client.batches().list(asked(call)?), take).await?,
        "await_batch" => {
            let every = Duration::from_millis(call.every_ms.unwrap_or(1_000));
            told(client.batches().wait(&asked::<v1::GetBatchRequest>(call)?.id, every).await)?
        }
        _ => json!({"unsupported": true}),
    })
}

fn upload(sent: &Sent) -> Upload {
    let bytes = sent.text.repeat(sent.times.unwrap_or(1)).into_bytes();
    Upload::bytes(&sent.filename, bytes).media_type(&sent.content_type)
}

fn somewhere() -> PathBuf {
    std::env::temp_dir().join(Uuid::new_v4().to_string())
}

/// What a file holds, if it is there, and why it does not hold more.
fn written(path: &PathBuf, error: Option<&Error>) -> anyhow::Result<Value> {
    let mut told = error.map_or_else(|| json!({}), failed);
    if path.exists() {
        told["file"] = String::from_utf8_lossy(&std::fs::read(path)?).into();
        std::fs::remove_file(path)?;
    }
    Ok(told)
}

async fn spoken(mut speech: Speech, call: &Call) -> anyhow::Result<Value> {
    if let Some(after) = call.cancel_after_events {
        speech.by_ref().take(after).try_collect::<Vec<_>>().await?;
        let now = now_ms()?;
        drop(speech);
        tokio::time::sleep(Duration::from_millis(call.linger_ms.unwrap_or(0))).await;
        return Ok(json!({"cancelled": true, "cancelled_at_ms": now}));
    }
    let path = somewhere();
    let done = speech.save(&path).await;
    let mut told = written(&path, done.err().as_ref())?;
    told["content_type"] = speech.content_type().into();
    told["usage"] = speech.usage().map(saw::usage).into();
    told["receipt"] = saw::receipt(speech.receipt());
    Ok(told)
}
