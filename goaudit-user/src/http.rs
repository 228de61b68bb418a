//! As much HTTP/1.1 as a witness and its clients need. Plain HTTP: the answers are signed, so a proxy with TLS can stand
//! before it, but need not. The client speaks https where goaudit is built with the feature of that name.

mod server;

use std::io::Read as _;
use std::time::Duration;

pub use server::{Reply, Server};

/// Bytes of the longest answer that is read.
const MAX_ANSWER: u64 = 1 << 20;

/// Why there is no answer. Reads after "failed to ...: ".
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// Nothing came back.
    #[error("ask {url}: {what}")]
    Failed {
        /// Whom.
        url: String,
        /// Why not.
        what: String,
    },
    /// The server cannot listen.
    #[error("listen on {address}: {source}")]
    Listen {
        /// Where.
        address: String,
        /// Why not.
        source: std::io::Error,
    },
}

/// What a server answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// Status.
    pub status: u16,
    /// Content type; empty if none.
    pub content_type: String,
    /// Body.
    pub body: Vec<u8>,
}

/// Posts `body` and waits for the whole answer at most so long. Redirections are not followed: a request is meant for whom
/// it is sent to.
pub fn post(url: &str, content_type: &str, body: &[u8], patience: Duration) -> Result<Answered, HttpError> {
    let failed = |what: String| HttpError::Failed { url: url.to_owned(), what };
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(patience))
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .user_agent(concat!("goaudit/", env!("CARGO_PKG_VERSION")))
        .build()
        .into();
    let answer =
        agent.post(url).content_type(content_type).send(body).map_err(|error| failed(error.to_string()))?;
    let status = answer.status().as_u16();
    let content_type = answer
        .headers()
        .get("content-type")
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
        .to_owned();
    let mut body = Vec::new();
    answer
        .into_body()
        .into_reader()
        .take(MAX_ANSWER + 1)
        .read_to_end(&mut body)
        .map_err(|error| failed(error.to_string()))?;
    if body.len() as u64 > MAX_ANSWER {
        return Err(failed("the answer is longer than 1 MiB".to_owned()));
    }
    Ok(Answered { status, content_type, body })
}
