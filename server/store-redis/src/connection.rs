use redis::{
    Cmd, Pipeline, RedisFuture, Value,
    aio::{ConnectionLike, ConnectionManager, ConnectionManagerConfig},
    cluster::ClusterClient,
    cluster_async::ClusterConnection,
};
use tollgate_store::StoreError;

/// A connection that comes back by itself: to one server, or to a cluster.
#[derive(Clone)]
pub(crate) enum Connection {
    One(ConnectionManager),
    Cluster(ClusterConnection),
}

impl Connection {
    /// `redis://`, `rediss://`; of a cluster `redis+cluster://` or `rediss+cluster://` with one or more nodes, separated by commas.
    pub(crate) async fn open(url: &str) -> redis::RedisResult<Self> {
        let Some((scheme, nodes)) = url.split_once("+cluster://") else {
            let config = ConnectionManagerConfig::new()
                .set_response_timeout(Some(super::PATIENCE))
                .set_connection_timeout(Some(super::PATIENCE))
                .set_max_delay(std::time::Duration::from_millis(500));
            let client = redis::Client::open(url)?;
            // Lazy: a gateway starts while Redis is away.
            return Ok(Self::One(ConnectionManager::new_lazy_with_config(client, config)?));
        };
        let nodes = nodes.split(',').map(|node| format!("{scheme}://{node}"));
        let client =
            ClusterClient::builder(nodes).response_timeout(super::PATIENCE).connection_timeout(super::PATIENCE);
        Ok(Self::Cluster(client.build()?.get_async_connection().await?))
    }
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::One(one) => one.req_packed_command(cmd),
            Self::Cluster(cluster) => cluster.req_packed_command(cmd),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        cmd: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::One(one) => one.req_packed_commands(cmd, offset, count),
            Self::Cluster(cluster) => cluster.req_packed_commands(cmd, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::One(one) => one.get_db(),
            Self::Cluster(cluster) => cluster.get_db(),
        }
    }
}

/// What the store's traits say of an answer that did not come.
pub(crate) fn failed(error: redis::RedisError) -> StoreError {
    StoreError::Unavailable(error.to_string())
}
