use std::net::SocketAddr;

use rand::{Rng, SeedableRng, rngs::SmallRng};
use serde_json::Value;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
};

use super::wire::read_request;

/// How a body is cut on its way.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Cut {
    /// One piece, with its length.
    Whole,
    /// Every byte a chunk of its own.
    Bytes,
    /// Pieces of 1 to 40 bytes.
    Random(u64),
}

/// Serves one answer to every connection and returns where.
pub(crate) async fn serve(envelope: &Value, body: Vec<u8>, cut: Cut) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let response = &envelope["response"];
    let mut head = format!("HTTP/1.1 {} X\r\n", response["status"]);
    for header in response["headers"].as_array().unwrap() {
        let (name, value) = (header[0].as_str().unwrap(), header[1].as_str().unwrap());
        if !["content-length", "transfer-encoding", "connection"].contains(&name) {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    // One that is asked for anything else is no such provider.
    let wanted = format!(
        "{} {} HTTP/1.1",
        envelope["request"]["method"].as_str().unwrap(),
        envelope["request"]["path"].as_str().unwrap()
    );
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (head, body, wanted) = (head.clone(), body.clone(), wanted.clone());
            tokio::spawn(async move {
                let _ = answer(stream, &wanted, head, &body, cut).await; // the client may have gone
            });
        }
    });
    address
}

async fn answer(mut stream: TcpStream, wanted: &str, mut head: String, body: &[u8], cut: Cut) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let request = read_request(&mut stream).await?;
    let line = request.lines().next().unwrap_or_default();
    if line != wanted {
        let wrong = format!("asked for {line:?}, wanted is {wanted:?}");
        let head = format!("HTTP/1.1 421 X\r\ncontent-length: {}\r\n\r\n{wrong}", wrong.len());
        return stream.write_all(head.as_bytes()).await;
    }
    if cut == Cut::Whole {
        head.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(body).await?;
        return stream.flush().await;
    }
    head.push_str("transfer-encoding: chunked\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    let mut rng = SmallRng::seed_from_u64(if let Cut::Random(seed) = cut { seed } else { 0 });
    let mut rest = body;
    while !rest.is_empty() {
        let size = if cut == Cut::Bytes { 1 } else { rng.random_range(1..=40).min(rest.len()) };
        let (piece, after) = rest.split_at(size);
        let mut chunk = format!("{size:x}\r\n").into_bytes();
        chunk.extend_from_slice(piece);
        chunk.extend_from_slice(b"\r\n");
        stream.write_all(&chunk).await?;
        rest = after;
    }
    stream.write_all(b"0\r\n\r\n").await
}
