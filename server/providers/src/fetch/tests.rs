use futures::FutureExt;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::*;

const PNG: &[u8] = b"\x89PNG\r\n\x1a\nrest";

/// Finds the same addresses for every name.
struct Found(Vec<std::net::IpAddr>);

impl Resolve for Found {
    fn resolve(&self, _name: String) -> futures::future::BoxFuture<'static, std::io::Result<Vec<std::net::IpAddr>>> {
        let found = self.0.clone();
        async move { Ok(found) }.boxed()
    }
}

fn rules() -> FetchRules {
    FetchRules { schemes: vec!["https".into(), "http".into()], ..FetchRules::default() }
}

fn finding(addresses: &[&str], rules: FetchRules) -> Fetcher {
    Fetcher::with_resolver(rules, Arc::new(Found(addresses.iter().map(|address| address.parse().unwrap()).collect())))
}

async fn refused(fetcher: &Fetcher, url: &str) -> Refused {
    let left = AtomicUsize::new(fetcher.rules.max_bytes);
    fetcher.fetch(url, &left).await.expect_err(url)
}

/// An IPv4 address in the spellings that one parser or another takes for it.
fn spellings([a, b, c, d]: [u8; 4]) -> Vec<String> {
    let whole = u32::from_be_bytes([a, b, c, d]);
    let (low, lowest) = (whole & 0xff_ffff, whole & 0xffff);
    let wide = |text: String| -> String {
        let digit = |c: char| Some(0xff10 + c.to_digit(10)?).and_then(char::from_u32);
        text.chars().map(|c| digit(c).unwrap_or('\u{3002}')).collect()
    };
    let percent = |text: String| -> String { text.bytes().map(|byte| format!("%{byte:02x}")).collect() };
    vec![
        format!("{a}.{b}.{c}.{d}"),
        format!("{a}.{b}.{c}.{d}."),
        format!("{whole}"),
        format!("{whole:#x}"),
        format!("{whole:#X}"),
        format!("0{whole:o}"),
        format!("{a}.{low}"),
        format!("{a}.{b}.{lowest}"),
        format!("{a:#x}.{b:#x}.{c:#x}.{d:#x}"),
        format!("0{a:o}.0{b:o}.0{c:o}.0{d:o}"),
        format!("{a}.0{b:o}.{c:#x}.{d}"),
        format!("00000{a:o}.{b}.{c}.{d}"),
        format!("{a:#x}.{low}"),
        wide(format!("{a}.{b}.{c}.{d}")),
        percent(format!("{a}.{b}.{c}.{d}")),
        format!("[::ffff:{a}.{b}.{c}.{d}]"),
        format!("[0:0:0:0:0:FFFF:{a:02X}{b:02x}:{c:02x}{d:02x}]"),
        format!("[::{a}.{b}.{c}.{d}]"),
        format!("[64:ff9b::{a}.{b}.{c}.{d}]"),
        format!("[2002:{a:02x}{b:02x}:{c:02x}{d:02x}::1]"),
    ]
}

#[tokio::test]
async fn no_spelling_of_a_refused_address_passes() {
    let fetcher = finding(&["127.0.0.1"], rules());
    let refused_ones = [
        [127, 0, 0, 1],
        [127, 255, 255, 254],
        [10, 1, 2, 3],
        [172, 16, 0, 9],
        [172, 31, 255, 1],
        [192, 168, 1, 1],
        [169, 254, 169, 254],
        [100, 64, 0, 1],
        [100, 100, 100, 200],
        [168, 63, 129, 16],
        [192, 0, 2, 5],
        [198, 18, 0, 1],
        [224, 0, 0, 251],
        [255, 255, 255, 255],
        [0, 0, 0, 0],
        [0, 0, 0, 1],
    ];
    for address in refused_ones {
        for host in spellings(address) {
            for url in [format!("http://{host}/a.png"), format!("https://{host}:443/"), format!("http:\\\\{host}\\")] {
                assert_eq!(refused(&fetcher, &url).await, Refused::NotAllowed, "{url}");
            }
        }
    }
    let ipv6 =
        ["::1", "0:0:0:0:0:0:0:1", "::", "fe80::1", "FD00:EC2::254", "fc00::1", "ff02::1", "2001:db8::1", "fec0::1"];
    for host in ipv6 {
        assert_eq!(refused(&fetcher, &format!("http://[{host}]/")).await, Refused::NotAllowed, "{host}");
    }
}

#[tokio::test]
async fn a_name_is_judged_by_what_it_resolves_to() {
    for address in ["127.0.0.1", "10.0.0.7", "169.254.169.254", "::1", "::ffff:10.0.0.7", "fd00::1", "0.0.0.0"] {
        let fetcher = finding(&[address], rules());
        for url in ["http://images.example.com/a.png", "https://localhost/", "http://metadata.google.internal./"] {
            assert_eq!(refused(&fetcher, url).await, Refused::NotAllowed, "{url} at {address}");
        }
    }
    // A name that is not there reads alike, so that nobody learns which are.
    assert_eq!(refused(&finding(&[], rules()), "http://db.internal/").await, Refused::NotAllowed);
}

#[tokio::test]
async fn urls_are_held_to_their_rules_before_anything_is_asked() {
    let fetcher = finding(&["127.0.0.1"], rules());
    let long = format!("https://example.com/{}", "a".repeat(LONGEST_URL));
    for url in [
        "",
        "example.com/a.png",
        "https://",
        "https://[::1/",
        "https://exa mple.com/",
        "http://[fe80::1%25eth0]/",
        &long,
    ] {
        assert_eq!(refused(&fetcher, url).await, Refused::BadUrl, "{url}");
    }
    for url in ["ftp://example.com/", "file:///etc/passwd", "gopher://example.com/", "gs://bucket/object", "blob:x"] {
        assert!(matches!(refused(&fetcher, url).await, Refused::Scheme(_)), "{url}");
    }
    for url in ["https://me:secret@example.com/", "https://me@example.com/", "https://:secret@example.com/"] {
        assert_eq!(refused(&fetcher, url).await, Refused::Credentials, "{url}");
    }
    for url in ["https://example.com:22/", "http://example.com:8080/", "https://example.com:0/"] {
        assert_eq!(refused(&fetcher, url).await, Refused::NotAllowed, "{url}");
    }
    let plain = refused(&finding(&["1.1.1.1"], FetchRules::default()), "http://example.com/").await;
    assert!(matches!(plain, Refused::Scheme(_)), "only https unless it is said otherwise");
}

#[test]
fn hosts_can_be_limited_to_a_list() {
    let allow_hosts = vec!["images.example.com".to_owned(), "*.cdn.example".to_owned()];
    let fetcher = finding(&[], FetchRules { allow_hosts, ..rules() });
    for url in ["https://images.example.com/", "https://IMAGES.example.com./a", "https://a.b.cdn.example/"] {
        assert!(fetcher.allowed(url).is_ok(), "{url}");
    }
    for url in
        ["https://example.com/", "https://cdn.example/", "https://evilcdn.example/", "https://images.example.com.evil/"]
    {
        assert_eq!(fetcher.allowed(url).unwrap_err(), Refused::NotAllowed, "{url}");
    }
}

#[tokio::test]
async fn metadata_is_refused_even_where_private_addresses_are_allowed() {
    let fetcher = finding(&["169.254.169.254", "fd00:ec2::254"], FetchRules { allow_private: true, ..rules() });
    for url in ["http://169.254.169.254/latest/meta-data/", "http://[fd00:ec2::254]/", "http://metadata.internal:8080/"]
    {
        assert_eq!(refused(&fetcher, url).await, Refused::NotAllowed, "{url}");
    }
}

/// Answers one request over TLS as `host`.
async fn secure_server(host: &str) -> (u16, CertificateDer<'static>) {
    let made = rcgen::generate_simple_self_signed([host.to_owned()]).unwrap();
    let certificate: CertificateDer<'static> = made.cert.into();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![certificate.clone()], key).unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let Ok(mut tls) = acceptor.accept(tcp).await else { continue };
            let _ = tls.read(&mut [0; 4_096]).await;
            let head = format!("HTTP/1.1 200 X\r\ncontent-type: image/png\r\ncontent-length: {}\r\n\r\n", PNG.len());
            let _ = tls.write_all(&[head.as_bytes(), PNG].concat()).await;
            let _ = tls.shutdown().await;
        }
    });
    (port, certificate)
}

#[tokio::test]
async fn https_proves_the_name_of_the_url() {
    let (port, certificate) = secure_server("images.example.com").await;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let tls = tls.with_root_certificates(roots).with_no_client_auth();
    let mut fetcher = finding(&["127.0.0.1"], FetchRules { allow_private: true, ..rules() });
    let url = |host: &str| format!("https://{host}:{port}/a.png");
    assert_eq!(refused(&fetcher, &url("images.example.com")).await, Refused::Broken, "signed by nobody we know");
    fetcher.connector = fetcher.connector.trusting(tls);
    let fetched = fetcher.fetch(&url("images.example.com"), &AtomicUsize::new(100)).await;
    assert_eq!(fetched, Ok(Media { kind: "image/png".into(), data: PNG.into() }));
    assert_eq!(refused(&fetcher, &url("other.example.com")).await, Refused::Broken, "somebody else's certificate");
}
