//! A webhook's far end: a real HTTP/1.1 server that records bodies and answers by script.
//!
//! ```text
//!   POST /hook ──▶ bodies: [{"text":"…"}, …]
//!              ◀── script: 429 + Retry-After: 1, then 500, then 200 for ever
//! ```
//!
//! One thread accepts, one thread a connection answers; dropping the server ends them all.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::{Error, Result};

/// One answer of the script.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status line's code.
    pub status: u16,
    /// Further headers, name and value.
    pub headers: Vec<(String, String)>,
    /// How long to wait before answering, for tests of timeouts.
    pub delay: Duration,
}

impl Answer {
    /// An answer of this status, at once and without further headers.
    pub fn status(status: u16) -> Answer {
        Answer {
            status,
            headers: Vec::new(),
            delay: Duration::ZERO,
        }
    }

    /// The same with one more header.
    pub fn header(mut self, name: &str, value: &str) -> Answer {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same after a pause.
    pub fn after(mut self, delay: Duration) -> Answer {
        self.delay = delay;
        self
    }
}

/// One request as it was received.
#[derive(Clone, Debug)]
pub struct Request {
    /// The path and query of the request line.
    pub target: String,
    /// The body.
    pub body: Vec<u8>,
    /// The status with which it was answered.
    pub answered: u16,
    /// When the whole of it had been read.
    pub at: Instant,
}

#[derive(Default)]
struct Log {
    requests: Vec<Request>,
    script: VecDeque<Answer>,
}

#[derive(Default)]
struct Shared {
    log: Mutex<Log>,
    changed: Condvar,
    stopping: AtomicBool,
}

impl Shared {
    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running server; see the module's picture.
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Listens on a free port of the loopback address; once the script is used up, answers 200.
    ///
    /// # Errors
    ///
    /// Where no port can be bound.
    pub fn start(script: impl IntoIterator<Item = Answer>) -> Result<Server> {
        let listener = TcpListener::bind(("127.0.0.1", 0))
            .map_err(|source| Error::io("binding a port for the HTTP server", source))?;
        let address = listener
            .local_addr()
            .map_err(|source| Error::io("reading the HTTP server's port", source))?;
        let shared = Arc::new(Shared::default());
        shared.log().script.extend(script);
        let thread = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || accept(&listener, &shared)
        });
        Ok(Server {
            address,
            shared,
            thread: Some(thread),
        })
    }

    /// The URL to post to, with a path that a test can look for in outputs.
    pub fn url(&self) -> String {
        format!("http://{}/services/T0SECRET/B0SECRET", self.address)
    }

    /// Appends to the script.
    pub fn script(&self, answers: impl IntoIterator<Item = Answer>) {
        self.shared.log().script.extend(answers);
    }

    /// What has been received so far, in order.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.log().requests.clone()
    }

    /// The bodies of the requests that were answered with 200, as text.
    pub fn accepted(&self) -> Vec<String> {
        self.requests()
            .into_iter()
            .filter(|request| request.answered == 200)
            .map(|request| String::from_utf8_lossy(&request.body).into_owned())
            .collect()
    }

    /// Waits until so many requests were answered with 200, and returns their bodies; on time-out,
    /// those that there are.
    pub fn wait_accepted(&self, count: usize, timeout: Duration) -> Vec<String> {
        let deadline = Instant::now() + timeout;
        let mut log = self.shared.log();
        loop {
            let accepted = log
                .requests
                .iter()
                .filter(|request| request.answered == 200)
                .count();
            let now = Instant::now();
            if accepted >= count || now >= deadline {
                break;
            }
            log = self
                .shared
                .changed
                .wait_timeout(log, deadline - now)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        drop(log);
        self.accepted()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Release);
        // The thread waits in accept(): a connection of our own wakes it.
        drop(TcpStream::connect_timeout(
            &self.address,
            Duration::from_secs(1),
        ));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut connections = Vec::new();
    while let Ok((stream, _)) = listener.accept() {
        if shared.stopping.load(Ordering::Acquire) {
            break;
        }
        let shared = Arc::clone(shared);
        connections.push(std::thread::spawn(move || drop(serve(&stream, &shared))));
    }
    for connection in connections {
        drop(connection.join());
    }
}

/// Answers the requests of one connection until it closes; an error ends the connection.
fn serve(stream: &TcpStream, shared: &Shared) -> std::io::Result<()> {
    // Short reads let the thread notice that the server is being dropped.
    stream.set_read_timeout(Some(Duration::from_millis(50)))?;
    let mut reader = BufReader::new(stream);
    loop {
        let Some(request_line) = line(&mut reader, shared)? else {
            return Ok(());
        };
        let target = request_line
            .split(' ')
            .nth(1)
            .unwrap_or_default()
            .to_owned();
        let mut length = 0;
        loop {
            let Some(header) = line(&mut reader, shared)? else {
                return Ok(());
            };
            if header.is_empty() {
                break;
            }
            if let Some((name, value)) = header.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().unwrap_or(0);
            }
        }
        let mut body = vec![0; length];
        let mut read = 0;
        while read < length {
            match reader.read(&mut body[read..]) {
                Ok(0) => return Ok(()),
                Ok(more) => read += more,
                Err(error) if again(&error, shared) => {}
                Err(error) => return Err(error),
            }
        }
        let answer = {
            let mut log = shared.log();
            let answer = log
                .script
                .pop_front()
                .unwrap_or_else(|| Answer::status(200));
            log.requests.push(Request {
                target,
                body,
                answered: answer.status,
                at: Instant::now(),
            });
            answer
        };
        shared.changed.notify_all();
        std::thread::sleep(answer.delay);
        let mut head = format!(
            "HTTP/1.1 {} scripted\r\nContent-Length: 2\r\n",
            answer.status
        );
        for (name, value) in &answer.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\nok");
        let mut writer = stream;
        writer.write_all(head.as_bytes())?;
    }
}

/// The next line without its end, or nothing where the connection or the server has ended.
fn line(reader: &mut impl BufRead, shared: &Shared) -> std::io::Result<Option<String>> {
    let mut text = String::new();
    loop {
        match reader.read_line(&mut text) {
            Ok(0) => return Ok(None),
            Ok(_) => return Ok(Some(text.trim_end().to_owned())),
            Err(error) if again(&error, shared) => {}
            Err(_) if shared.stopping.load(Ordering::Acquire) => return Ok(None),
            Err(error) => return Err(error),
        }
    }
}

fn again(error: &std::io::Error, shared: &Shared) -> bool {
    matches!(
        error.kind(),
        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
    ) && !shared.stopping.load(Ordering::Acquire)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn post(server: &Server, body: &str) -> String {
        let mut stream = TcpStream::connect(server.address).unwrap();
        write!(
            stream,
            "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).unwrap();
        answer
    }

    #[test]
    fn answers_follow_the_script_and_then_are_200() {
        let server = Server::start([
            Answer::status(429).header("Retry-After", "1"),
            Answer::status(500),
        ])
        .unwrap();
        let answers: Vec<String> = (0..3)
            .map(|n| post(&server, &format!("body {n}")))
            .collect();
        assert!(answers[0].starts_with("HTTP/1.1 429"), "{answers:?}");
        assert!(answers[1].starts_with("HTTP/1.1 500"), "{answers:?}");
        assert!(answers[2].starts_with("HTTP/1.1 200"), "{answers:?}");
        assert_eq!(server.accepted(), ["body 2"]);
        assert_eq!(server.requests().len(), 3);
    }
}
