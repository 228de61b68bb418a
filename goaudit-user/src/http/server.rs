//! A small HTTP/1.1 server: one thread a connection, few of them, short requests with a length, deadlines on all.

use std::io::{self, Read, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::HttpError;

/// Connections at once; further ones are closed.
const MAX_CONNECTIONS: usize = 32;
/// Bytes of a request's head.
const MAX_HEAD: usize = 8 << 10;
/// Headers of a request.
const MAX_HEADERS: usize = 64;
/// How long a request may take to come in, and an idle connection is kept.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Status.
    pub status: u16,
    /// Content type.
    pub content_type: &'static str,
    /// Body.
    pub body: Vec<u8>,
}

impl Reply {
    /// An answer without more than its status.
    pub fn status(status: u16) -> Self {
        Self { status, content_type: "text/plain; charset=utf-8", body: Vec::new() }
    }
}

/// A server that listens.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    max_body: usize,
}

impl Server {
    /// Listens on `address`, such as `127.0.0.1:0`, for requests whose body is at most so long.
    pub fn bind(address: &str, max_body: usize) -> Result<Self, HttpError> {
        let listener = TcpListener::bind(address)
            .map_err(|source| HttpError::Listen { address: address.to_owned(), source })?;
        Ok(Self { listener, max_body })
    }

    /// Where it listens.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until the process ends: `answer` gets method, path and body.
    pub fn run<F>(self, answer: F) -> io::Result<()>
    where
        F: Fn(&str, &str, &[u8]) -> Reply + Send + Sync + 'static,
    {
        let answer = Arc::new(answer);
        let open = Arc::new(AtomicUsize::new(0));
        for stream in self.listener.incoming() {
            // A connection that was given up before it was taken is no reason to end.
            let Ok(stream) = stream else { continue };
            if open.fetch_add(1, Ordering::AcqRel) >= MAX_CONNECTIONS {
                open.fetch_sub(1, Ordering::AcqRel);
                continue;
            }
            let (answer, count, max_body) = (Arc::clone(&answer), Arc::clone(&open), self.max_body);
            let spawned = std::thread::Builder::new().name("http".to_owned()).spawn(move || {
                // Whoever hung up is gone; nobody is left to tell.
                let _ = serve(&stream, max_body, &*answer);
                count.fetch_sub(1, Ordering::AcqRel);
            });
            if spawned.is_err() {
                open.fetch_sub(1, Ordering::AcqRel);
            }
        }
        Ok(())
    }
}

/// Answers the requests of one connection.
fn serve(stream: &TcpStream, max_body: usize, answer: &dyn Fn(&str, &str, &[u8]) -> Reply) -> io::Result<()> {
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut buffer = Vec::new();
    loop {
        let deadline = Instant::now() + PATIENCE;
        let request = match read_request(stream, &mut buffer, max_body, deadline)? {
            Incoming::End => return Ok(()),
            Incoming::Refused(status) => return write(stream, &Reply::status(status), false),
            Incoming::Request(request) => request,
        };
        let reply = answer(&request.method, &request.path, &request.body);
        write(stream, &reply, request.keep_alive)?;
        if !request.keep_alive {
            return Ok(());
        }
    }
}

/// What comes in.
#[derive(Debug, PartialEq, Eq)]
enum Incoming {
    /// The client hung up between requests.
    End,
    /// No request that is answered: the status, after which the connection ends.
    Refused(u16),
    Request(Request),
}

#[derive(Debug, PartialEq, Eq)]
struct Request {
    method: String,
    path: String,
    body: Vec<u8>,
    keep_alive: bool,
}

fn read_request(
    mut stream: &TcpStream,
    buffer: &mut Vec<u8>,
    max_body: usize,
    deadline: Instant,
) -> io::Result<Incoming> {
    loop {
        match parse(buffer, max_body) {
            Parsed::Whole { request, used } => {
                buffer.drain(..used);
                return Ok(Incoming::Request(request));
            }
            Parsed::Refused(status) => return Ok(Incoming::Refused(status)),
            Parsed::Part { wants_continue } => {
                if wants_continue {
                    stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
                }
            }
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(if buffer.is_empty() { Incoming::End } else { Incoming::Refused(408) });
        }
        stream.set_read_timeout(Some(left))?;
        let mut chunk = [0; 4096];
        let read = match stream.read(&mut chunk) {
            Ok(0) => return Ok(Incoming::End),
            Ok(read) => read,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                continue;
            }
            Err(error) => return Err(error),
        };
        buffer.extend_from_slice(chunk.get(..read).unwrap_or_default());
    }
}

/// What a buffer holds.
#[derive(Debug, PartialEq, Eq)]
enum Parsed {
    /// More must come; the client may wait to be told that its body is welcome.
    Part {
        wants_continue: bool,
    },
    Refused(u16),
    Whole {
        request: Request,
        used: usize,
    },
}

/// Reads a request from the front of `bytes`.
fn parse(bytes: &[u8], max_body: usize) -> Parsed {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut head = httparse::Request::new(&mut headers);
    let used = match head.parse(bytes) {
        Ok(httparse::Status::Complete(used)) if used <= MAX_HEAD => used,
        Ok(httparse::Status::Partial) if bytes.len() <= MAX_HEAD => {
            return Parsed::Part { wants_continue: false };
        }
        Ok(_) => return Parsed::Refused(431),
        Err(_) => return Parsed::Refused(400),
    };
    let (mut length, mut close, mut chunked, mut expects) = (None, head.version == Some(0), false, false);
    for header in head.headers.iter() {
        let value = std::str::from_utf8(header.value).unwrap_or_default().trim();
        if header.name.eq_ignore_ascii_case("content-length") {
            // Two lengths are a way to hide a request in another.
            let number = value.bytes().all(|byte| byte.is_ascii_digit()).then(|| value.parse::<usize>().ok());
            match (number.flatten(), length) {
                (Some(number), None) => length = Some(number),
                _ => return Parsed::Refused(400),
            }
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            chunked = true;
        } else if header.name.eq_ignore_ascii_case("connection") {
            close |= value.split(',').any(|word| word.trim().eq_ignore_ascii_case("close"));
        } else if header.name.eq_ignore_ascii_case("expect") {
            expects = value.eq_ignore_ascii_case("100-continue");
        }
    }
    let method = head.method.unwrap_or_default().to_owned();
    if chunked || (length.is_none() && method == "POST") {
        return Parsed::Refused(411);
    }
    let length = length.unwrap_or(0);
    if length > max_body {
        return Parsed::Refused(413);
    }
    let path = head.path.unwrap_or_default().to_owned();
    match bytes.get(used..used + length) {
        Some(body) => Parsed::Whole {
            request: Request { method, path, body: body.to_vec(), keep_alive: !close },
            used: used + length,
        },
        None => Parsed::Part { wants_continue: expects && bytes.len() == used },
    }
}

fn write(mut stream: &TcpStream, reply: &Reply, keep_alive: bool) -> io::Result<()> {
    let reason = match reply.status {
        200 => "OK",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        411 => "Length Required",
        413 => "Content Too Large",
        422 => "Unprocessable Content",
        431 => "Request Header Fields Too Large",
        _ => "Internal Server Error",
    };
    let Reply { status, content_type, body } = reply;
    let connection = if keep_alive { "keep-alive" } else { "close" };
    let mut whole = format!(
        "HTTP/1.1 {status} {reason}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\nConnection: \
         {connection}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    whole.extend_from_slice(body);
    stream.write_all(&whole)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

    use super::*;
    use crate::http::post;

    #[test]
    fn requests_are_whole_partial_or_refused() {
        let whole = b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabcGET";
        let Parsed::Whole { request, used } = parse(whole, 10) else { panic!("not whole") };
        assert_eq!((request.method.as_str(), request.path.as_str(), used), ("POST", "/a", whole.len() - 3));
        assert!(request.keep_alive && request.body == b"abc");
        for end in 0..whole.len() - 3 {
            let part = parse(whole.get(..end).unwrap(), 10);
            assert_eq!(part, Parsed::Part { wants_continue: false }, "{end}");
        }
        for (text, expected) in [
            ("POST / HTTP/1.1\r\n\r\n", 411),
            ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 411),
            ("POST / HTTP/1.1\r\nContent-Length: 11\r\n\r\n", 413),
            ("POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
            ("no request\r\n\r\n", 400),
        ] {
            assert_eq!(parse(text.as_bytes(), 10), Parsed::Refused(expected), "{text}");
        }
        let long = format!("GET / HTTP/1.1\r\nA: {}\r\n\r\n", "x".repeat(9000));
        assert_eq!(parse(long.as_bytes(), 10), Parsed::Refused(431));
        let expects = b"POST / HTTP/1.1\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n";
        assert_eq!(parse(expects, 10), Parsed::Part { wants_continue: true });
    }

    #[test]
    fn a_client_gets_what_the_server_answers() {
        let server = Server::bind("127.0.0.1:0", 100).unwrap();
        let url = format!("http://{}/path", server.address().unwrap());
        std::thread::spawn(move || {
            server.run(|method, path, body| Reply {
                status: if body.is_empty() { 422 } else { 200 },
                content_type: "text/x.test",
                body: [method.as_bytes(), path.as_bytes(), body].concat(),
            })
        });
        let wait = Duration::from_secs(20);
        let answer = post(&url, "text/plain", b"hello", wait).unwrap();
        assert_eq!((answer.status, answer.content_type.as_str()), (200, "text/x.test"));
        assert_eq!(answer.body, b"POST/pathhello");
        assert_eq!(post(&url, "text/plain", b"", wait).unwrap().status, 422);
        assert_eq!(post(&url, "text/plain", &[0; 101], wait).unwrap().status, 413);
        assert!(post("http://127.0.0.1:1/", "text/plain", b"x", wait).is_err());
    }
}
