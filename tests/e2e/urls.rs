//! Images that callers name by URL.

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tollgate_tests::support::http::Reply;

use crate::support::World;

/// Serves a PNG, and returns its URL.
async fn image() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/a.png", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4_096]).await;
            let head = b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\ncontent-length: 8\r\n\r\n";
            let _ = stream.write_all(&[head.as_slice(), b"\x89PNG\r\n\x1a\n"].concat()).await;
        }
    });
    url
}

/// A gateway before a server that fetches nothing, with these rules for fetching.
async fn before_a_local_server(fetch_urls: Value) -> World {
    World::with_provider(|builder, base_url| {
        let builder = builder.provider_of_kind("local", "openai_compatible", base_url);
        builder.set("/providers/local/fetch_urls", fetch_urls).model("local", "local", "local-upstream")
    })
    .await
}

async fn ask(world: &World, url: &str) -> Reply {
    let content = json!([{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": url}}]);
    let body = json!({"model": "local", "messages": [{"role": "user", "content": content}]});
    world.gateway.caller().post(&world.v1("chat/completions"), &body).await.unwrap()
}

#[tokio::test]
async fn a_url_is_fetched_only_where_the_configuration_says_so_and_only_from_where_it_says() {
    let url = image().await;
    let open = json!({"schemes": ["http"], "allow_private": true, "max_bytes": "1kB"});
    let world = before_a_local_server(open).await;
    assert_eq!(ask(&world, &url).await.status, 200);
    let sent = world.provider.log().last().unwrap().body.unwrap();
    assert_eq!(sent["messages"][0]["content"][1]["image_url"]["url"], "data:image/png;base64,iVBORw0KGgo=");

    for (fetch_urls, why) in [
        (Value::Null, "fetch_urls"),
        (json!({"schemes": ["http", "https"]}), "its address is not allowed or cannot be found"),
        (json!({}), "schemes"),
    ] {
        let world = before_a_local_server(fetch_urls).await;
        let reply = ask(&world, &url).await;
        let message = reply.json()["error"]["message"].as_str().unwrap().to_owned();
        assert_eq!(reply.status, 400, "{message}");
        assert!(message.starts_with("messages[0].content[1].image_url: ") && message.contains(why), "{message}");
        assert_eq!(world.provider.log().stats().calls, 0);
        assert!(world.entries().await.is_empty(), "and it costs nothing");
    }
}
