//! toxiproxy: stands before a server, and makes the network to it as bad as it is told, connection by connection.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
    process::Command,
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Process, program};

/// The administration answers at once, or something is wrong.
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// Which way bytes go that suffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To the server.
    Up,
    /// To the client.
    Down,
}

/// What befalls every connection, also those that are open.
#[derive(Clone, Copy, Debug)]
pub enum Toxic {
    /// Each byte comes so much later, give or take the jitter.
    Latency { ms: u64, jitter_ms: u64 },
    /// At most so many bytes a second.
    Bandwidth { bytes_per_s: u64 },
    /// No byte arrives, and nobody hangs up.
    Silence,
    /// A reset, so long after the connection was made.
    Reset { after_ms: u64 },
    /// Hangs up after so many bytes.
    Limit { bytes: u64 },
    /// Small pieces with pauses between them, as where packets are lost and sent again.
    Crumbs { bytes: u64, pause_us: u64 },
}

impl Toxic {
    fn kind_and_attributes(self) -> (&'static str, Value) {
        match self {
            Self::Latency { ms, jitter_ms } => ("latency", json!({"latency": ms, "jitter": jitter_ms})),
            // In units of 1000 bytes, of which there are whole ones only.
            Self::Bandwidth { bytes_per_s } => ("bandwidth", json!({"rate": bytes_per_s.div_ceil(1000)})),
            Self::Silence => ("timeout", json!({"timeout": 0})),
            Self::Reset { after_ms } => ("reset_peer", json!({"timeout": after_ms})),
            Self::Limit { bytes } => ("limit_data", json!({"bytes": bytes})),
            Self::Crumbs { bytes, pause_us } => (
                "slicer",
                json!({"average_size": bytes, "size_variation": bytes / 2, "delay": pause_us}),
            ),
        }
    }
}

pub struct Proxy {
    process: Process,
    server_port: u16,
    /// What clients connect to.
    pub port: u16,
    _dir: TempDir,
}

impl Proxy {
    /// Before a server on this machine.
    pub fn before(server_port: u16) -> Self {
        let binary = program("LIFEBOAT_TOXIPROXY");
        let dir = tempfile::Builder::new()
            .prefix("lifeboat-proxy-")
            .tempdir()
            .expect("a temporary folder");
        let process = Process::start(&dir.path().join("log"), |port| {
            let mut command = Command::new(&binary);
            command.args(["-host", "127.0.0.1", "-port", &port.to_string()]);
            command
        });
        let mut proxy = Self {
            process,
            server_port,
            // Any that is free.
            port: 0,
            _dir: dir,
        };
        proxy.listen();
        proxy
    }

    fn listen(&mut self) {
        let made = json!({
            "name": "vault",
            "listen": format!("127.0.0.1:{}", self.port),
            "upstream": format!("127.0.0.1:{}", self.server_port),
            "enabled": true,
        });
        let answer = self.ask("POST", "/proxies", &made);
        let listen = answer["listen"].as_str().expect("where it listens");
        let port = listen.rsplit(':').next().expect("a port");
        self.port = port.parse().expect("a number");
    }

    pub fn add(&self, direction: Direction, toxic: Toxic) {
        let (kind, attributes) = toxic.kind_and_attributes();
        let stream = match direction {
            Direction::Up => "upstream",
            Direction::Down => "downstream",
        };
        let made = json!({
            "name": format!("{kind}-{stream}"),
            "type": kind,
            "stream": stream,
            "toxicity": 1.0,
            "attributes": attributes,
        });
        self.ask("POST", "/proxies/vault/toxics", &made);
    }

    /// Ends all connections, and takes no new ones.
    pub fn close(&self) {
        self.ask("POST", "/proxies/vault", &json!({"enabled": false}));
    }

    /// A good network again, which ends the connections there are. By a new process: the old one can wait for ever for a link that it
    /// is to take a toxic from, as one where a reset comes after a limit of bandwidth.
    pub fn heal(&mut self) {
        self.process.kill();
        self.process.start_again();
        self.listen();
    }

    /// One request to the administration, which is HTTP with JSON.
    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = body.to_string();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: proxy\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        let mut stream =
            TcpStream::connect((Ipv4Addr::LOCALHOST, self.process.port)).expect("the administration");
        stream.set_read_timeout(Some(ANSWER_MAX)).expect("a timeout");
        stream.write_all(request.as_bytes()).expect("send a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let (head, said) = answer.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).expect("a status");
        assert!(status.starts_with('2'), "{method} {path} {body}: {answer}");
        serde_json::from_str(said).unwrap_or(Value::Null)
    }
}
