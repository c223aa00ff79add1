//! A server that answers as it is told, for what a real one will not do on demand. One script for each connection, in the order they come.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

/// What to do with one request, after it was read to its end.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Send these bytes, and hang up.
    Say(Vec<u8>),
    /// Say nothing, and keep the connection.
    Stall,
    /// Send these bytes, then nothing more, and keep the connection.
    SayAndStall(Vec<u8>),
}

/// A status line, headers, and a body with its length.
pub fn say(status: &str, headers: &[&str], body: &[u8]) -> Answer {
    let mut all = head(status, headers, body.len());
    all.extend_from_slice(body);
    Answer::Say(all)
}

/// The same with a body that ends before its length.
pub fn say_less(status: &str, headers: &[&str], announced: usize, body: &[u8]) -> Answer {
    let mut all = head(status, headers, announced);
    all.extend_from_slice(body);
    Answer::Say(all)
}

pub fn head(status: &str, headers: &[&str], length: usize) -> Vec<u8> {
    let headers: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n")
        .into_bytes()
}

/// Gives the answers one by one, the last one for ever, and remembers what was asked.
pub struct Server {
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub fn start(answers: Vec<Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, asked) = (listener.local_addr().unwrap(), Arc::default());
        let heads: Arc<Mutex<Vec<String>>> = Arc::clone(&asked);
        // Ends with the test's process; each connection is served to its end before the next.
        thread::spawn(move || {
            let mut held = vec![];
            for (number, stream) in listener.incoming().enumerate() {
                let Ok(mut stream) = stream else { return };
                let Some(head) = read_request(&mut stream) else {
                    continue;
                };
                heads.lock().unwrap().push(head);
                match &answers[number.min(answers.len() - 1)] {
                    Answer::Say(bytes) => drop(stream.write_all(bytes)),
                    Answer::Stall => held.push(stream),
                    Answer::SayAndStall(bytes) => {
                        drop(stream.write_all(bytes));
                        held.push(stream);
                    }
                }
            }
        });
        Self { address, asked }
    }

    /// The first line and the headers of each request so far.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    pub fn methods(&self) -> Vec<String> {
        let method = |head: &String| head.split(' ').next().unwrap_or_default().to_owned();
        self.asked().iter().map(method).collect()
    }
}

fn read_request(stream: &mut TcpStream) -> Option<String> {
    let (mut bytes, mut piece) = (vec![], [0; 4096]);
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => return None,
            Ok(read) => bytes.extend_from_slice(&piece[..read]),
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse::<usize>().ok())
            .flatten()
    });
    let mut left = (end + length.unwrap_or(0)).saturating_sub(bytes.len());
    while left > 0 {
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => return None,
            Ok(read) => left = left.saturating_sub(read),
        }
    }
    Some(head)
}
