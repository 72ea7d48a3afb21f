use std::{
    io::{Read, Write},
    net::TcpStream,
    process::{Child, Stdio},
    time::Duration,
};

use crate::{Afterwards, end, free_port, program, wait_for};

/// A Redis server with a directory of its own.
pub struct Redis {
    dir: tempfile::TempDir,
    port: u16,
    process: Option<(Child, Afterwards)>,
    _leftovers: Afterwards,
    cluster: bool,
}

impl Redis {
    /// Starts a server that keeps what it is told.
    pub fn start() -> Self {
        Self::new(false)
    }

    /// Starts a cluster of one node that has all slots.
    pub fn start_cluster() -> Self {
        let server = Self::new(true);
        server.command(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]);
        wait_for("the cluster", || {
            server.command(&["CLUSTER", "INFO"]).is_some_and(|i| i.contains("cluster_state:ok"))
        });
        server
    }

    fn new(cluster: bool) -> Self {
        let dir = tempfile::tempdir().unwrap_or_else(|e| panic!("no temporary directory: {e}"));
        let leftovers = Afterwards::remove(dir.path());
        let mut server = Self { dir, port: free_port(), process: None, _leftovers: leftovers, cluster };
        server.run();
        server
    }

    /// Starts the server again after [`Redis::kill`].
    pub fn run(&mut self) {
        let process = program("redis-server")
            .command()
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes"])
            .args(["--appendfsync", "everysec", "--maxmemory-policy", "noeviction"])
            .args(["--cluster-enabled", if self.cluster { "yes" } else { "no" }, "--dir"])
            .arg(self.dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let process = process.unwrap_or_else(|e| panic!("redis-server: {e}"));
        let afterwards = Afterwards::end(&process);
        self.process = Some((process, afterwards));
        wait_for("Redis", || self.command(&["PING"]).is_some_and(|reply| reply.starts_with("+PONG")));
    }

    /// Whether it is a cluster.
    pub fn is_cluster(&self) -> bool {
        self.cluster
    }

    /// Connection URL.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Sends one command and returns the beginning of the raw reply.
    pub fn command(&self, words: &[&str]) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        let mut request = format!("*{}\r\n", words.len());
        for word in words {
            request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        stream.write_all(request.as_bytes()).ok()?;
        let mut reply = [0; 4_096];
        let n = stream.read(&mut reply).ok()?;
        Some(String::from_utf8_lossy(&reply[..n]).into_owned())
    }

    /// Ends the server at once.
    pub fn kill(&mut self) {
        if let Some((mut process, _afterwards)) = self.process.take() {
            end(&mut process);
        }
    }

    /// Ends it and removes what it had kept: what a lost disk or a fail-over to an empty replica looks like.
    pub fn kill_and_forget(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(self.dir.path().join("appendonlydir"));
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}
