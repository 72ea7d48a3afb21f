use tokio::{io::AsyncReadExt, net::TcpStream};

/// Reads a request, head and body; empty when the client has gone.
pub(crate) async fn read_request(stream: &mut TcpStream) -> std::io::Result<String> {
    let mut read = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let n = stream.read(&mut buffer).await?;
        read.extend_from_slice(&buffer[..n]);
        let Some(end) = read.windows(4).position(|w| w == b"\r\n\r\n") else {
            if n == 0 {
                return Ok(String::new());
            }
            continue;
        };
        let length = String::from_utf8_lossy(&read[..end])
            .to_lowercase()
            .split("content-length: ")
            .nth(1)
            .and_then(|l| l.lines().next()?.trim().parse::<usize>().ok());
        if n == 0 || read.len() >= end + 4 + length.unwrap_or(0) {
            return Ok(String::from_utf8_lossy(&read).into_owned());
        }
    }
}
