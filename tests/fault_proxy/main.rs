//! The fault proxy in front of an echo: every fault does what it says, and healing ends it.

#![allow(clippy::unwrap_used)] // a test says by panicking

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tollgate_tests::fault_proxy::{Direction, Fault, FaultProxy};

/// Sends back what it gets, until told the end.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let (mut read, mut write) = socket.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    address
}

/// An echo behind a proxy, and a connection that works.
async fn connected() -> (FaultProxy, TcpStream) {
    let proxy = FaultProxy::before(echo().await, 7).unwrap();
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(said(&mut client, b"hello").await.unwrap(), b"hello");
    (proxy, client)
}

/// Says something and hears as much.
async fn said(client: &mut TcpStream, words: &[u8]) -> std::io::Result<Vec<u8>> {
    client.write_all(words).await?;
    let mut heard = vec![0; words.len()];
    client.read_exact(&mut heard).await?;
    Ok(heard)
}

/// Nothing is heard for so long.
async fn silent(client: &mut TcpStream, ms: u64) -> bool {
    let mut byte = [0];
    tokio::time::timeout(Duration::from_millis(ms), client.read(&mut byte)).await.is_err()
}

/// The next read ends with this error.
async fn ends_with(client: &mut TcpStream, kind: ErrorKind) {
    let mut rest = Vec::new();
    assert_eq!(client.read_to_end(&mut rest).await.unwrap_err().kind(), kind, "after {} bytes", rest.len());
}

#[tokio::test]
async fn without_a_fault_everything_passes_unchanged() {
    let (_proxy, client) = connected().await;
    let sent: Vec<u8> = (0..3_000_000_u32).map(|at| (at % 251) as u8).collect();
    let (mut read, mut write) = client.into_split();
    let words = sent.clone();
    let writing = tokio::spawn(async move {
        write.write_all(&words).await.unwrap();
        write.shutdown().await.unwrap();
    });
    let mut heard = Vec::new();
    read.read_to_end(&mut heard).await.unwrap();
    writing.await.unwrap();
    assert!(heard == sent, "{} of {} bytes", heard.len(), sent.len());
}

#[tokio::test]
async fn latency_delays_each_way_and_does_not_throttle() {
    let (proxy, mut client) = connected().await;
    proxy.set(Fault::Latency { delay: Duration::from_millis(60), jitter: Duration::from_millis(10) });
    let begun = Instant::now();
    said(&mut client, b"once").await.unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(100), "{:?}", begun.elapsed());

    let begun = Instant::now();
    for _ in 0..20 {
        client.write_all(b"word").await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    client.read_exact(&mut [0; 80]).await.unwrap();
    assert!(begun.elapsed() < Duration::from_millis(1_000), "delays add up: {:?}", begun.elapsed());

    proxy.heal();
    let begun = Instant::now();
    said(&mut client, b"again").await.unwrap();
    assert!(begun.elapsed() < Duration::from_millis(50), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_rate_is_kept() {
    let (proxy, mut client) = connected().await;
    proxy.set_toward(Direction::ToClient, Fault::Rate { bytes_per_second: 20_000 });
    let begun = Instant::now();
    said(&mut client, &[1; 6_000]).await.unwrap();
    let took = begun.elapsed();
    assert!((250..1_000).contains(&took.as_millis()), "{took:?}");
}

#[tokio::test]
async fn a_black_hole_says_nothing_to_anybody_and_gives_back_what_it_swallowed() {
    let (proxy, mut client) = connected().await;
    proxy.set(Fault::BlackHole);
    client.write_all(b"lost?").await.unwrap();
    assert!(silent(&mut client, 100).await);
    let mut late = TcpStream::connect(proxy.address()).await.unwrap();
    late.write_all(b"me too").await.unwrap();
    assert!(silent(&mut late, 100).await);

    proxy.heal();
    let mut heard = [0; 6];
    client.read_exact(&mut heard[..5]).await.unwrap();
    assert_eq!(&heard[..5], b"lost?");
    late.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"me too");
}

#[tokio::test]
async fn a_partition_may_have_one_direction() {
    let (proxy, mut client) = connected().await;
    proxy.set_toward(Direction::ToClient, Fault::BlackHole);
    client.write_all(b"one way").await.unwrap();
    assert!(silent(&mut client, 100).await);
    proxy.heal();
    client.read_exact(&mut [0; 7]).await.unwrap();
}

#[tokio::test]
async fn a_reset_meets_open_connections_and_new_ones() {
    let (proxy, mut client) = connected().await;
    proxy.set(Fault::Reset);
    ends_with(&mut client, ErrorKind::ConnectionReset).await;
    // On a busy machine the reset is there before the connection is looked at for the first time.
    match TcpStream::connect(proxy.address()).await {
        Ok(mut late) => ends_with(&mut late, ErrorKind::ConnectionReset).await,
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }

    proxy.heal();
    let mut healed = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(said(&mut healed, b"back").await.unwrap(), b"back");
}

#[tokio::test]
async fn a_half_closed_line_ends_for_the_client_only() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = FaultProxy::before(listener.local_addr().unwrap(), 7).unwrap();
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    let (mut server, _) = listener.accept().await.unwrap();

    proxy.set(Fault::HalfClose);
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    client.write_all(b"still here").await.unwrap();
    let mut heard = [0; 10];
    server.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"still here");
}

#[tokio::test]
async fn a_cut_lets_so_many_bytes_pass_and_counts_anew_when_set_again() {
    let (proxy, mut client) = connected().await;
    proxy.set_toward(Direction::ToClient, Fault::CutAfter { bytes: 10 });
    assert_eq!(said(&mut client, b"six...").await.unwrap(), b"six...");
    proxy.set_toward(Direction::ToClient, Fault::CutAfter { bytes: 10 });
    client.write_all(b"six and a dozen").await.unwrap();
    let mut heard = [0; 10];
    client.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"six and a ");
    ends_with(&mut client, ErrorKind::ConnectionReset).await;
}

#[tokio::test]
async fn bytes_are_flipped_as_the_seed_says() {
    let server = echo().await;
    let mut spoilt = Vec::new();
    for seed in [1, 1, 2] {
        let proxy = FaultProxy::before(server, seed).unwrap();
        proxy.set_toward(Direction::ToServer, Fault::FlipByte { one_in: 10 });
        let mut client = TcpStream::connect(proxy.address()).await.unwrap();
        spoilt.push(said(&mut client, &[0; 1_000]).await.unwrap());
    }
    let flipped = spoilt[0].iter().filter(|byte| **byte != 0).count();
    assert!((50..200).contains(&flipped), "{flipped}");
    assert!(spoilt[0].iter().all(|byte| byte.count_ones() <= 1));
    assert!(spoilt[0] == spoilt[1] && spoilt[0] != spoilt[2]);
}

#[tokio::test]
async fn a_refused_connection_leaves_open_ones_alone_and_the_port_comes_back() {
    let (proxy, mut client) = connected().await;
    for _ in 0..3 {
        proxy.set(Fault::Refuse);
        tokio::time::sleep(Duration::from_millis(50)).await;
        let refused = TcpStream::connect(proxy.address()).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        assert_eq!(said(&mut client, b"still").await.unwrap(), b"still");
        proxy.heal();
        tokio::time::sleep(Duration::from_millis(50)).await;
        let mut late = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(said(&mut late, b"again").await.unwrap(), b"again");
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_not_there_behind_the_proxy() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let proxy = FaultProxy::before(nobody, 7).unwrap();
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    ends_with(&mut client, ErrorKind::ConnectionReset).await;
}

#[tokio::test]
async fn a_forgotten_proxy_ends_its_connections() {
    let (proxy, mut client) = connected().await;
    let address = proxy.address();
    drop(proxy);
    assert!(!silent(&mut client, 1_000).await);
    assert!(TcpStream::connect(address).await.is_err());
}
