//! The proxy's door: it accepts, refuses, and connects to the server.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;

use super::line::{self, Line};
use super::{Fault, Settings};

/// Serves until dropped.
pub(super) async fn serve(
    listener: std::net::TcpListener,
    address: SocketAddr,
    server: SocketAddr,
    seed: u64,
    mut settings: watch::Receiver<Settings>,
) {
    let Ok(mut listener) = TcpListener::from_std(listener) else {
        return;
    };
    let mut number = 0;
    loop {
        if settings.borrow_and_update().any(Fault::Refuse) {
            drop(listener);
            listener = reopened(address, &mut settings).await;
        }
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            changed = settings.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
        };
        let Ok((client, _)) = accepted else {
            // Out of file descriptors, most likely: let some connections end first.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        number += 1;
        tokio::spawn(join(client, server, seed.wrapping_add(number), settings.clone()));
    }
}

/// Keeps the port without listening, which refuses whoever comes and lets nobody else have it, until it may listen.
async fn reopened(address: SocketAddr, settings: &mut watch::Receiver<Settings>) -> TcpListener {
    loop {
        if let Ok(socket) = kept(address) {
            // An error means that the proxy is gone, and this task with it.
            let _ = settings.wait_for(|settings| !settings.any(Fault::Refuse)).await;
            if let Ok(listener) = socket.listen(1_024) {
                return listener;
            }
        }
        // The listener dropped a moment ago may still be there.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn kept(address: SocketAddr) -> std::io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    // Connections of the listener before are still on this port.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

async fn join(client: TcpStream, server: SocketAddr, seed: u64, mut settings: watch::Receiver<Settings>) {
    if settings.borrow_and_update().any(Fault::Reset) {
        let _ = client.set_zero_linger();
        return;
    }
    let Ok(server) = TcpStream::connect(server).await else {
        // The client finds out as it would without a proxy, only a moment later.
        let _ = client.set_zero_linger();
        return;
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    line::run(Line { client, server, seed, settings }).await;
}
