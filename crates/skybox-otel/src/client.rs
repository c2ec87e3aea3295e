//! How a batch is posted: by a blocking client, on the exporter's own thread.

use std::time::Duration;

use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use ureq::Agent;

/// A collector's answer is a few bytes; a longer one is not read.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

#[derive(Debug)]
pub(crate) struct Client(Agent);

impl Client {
    /// A request is given up after `timeout`, whatever it waits for.
    pub(crate) fn new(timeout: Duration) -> Client {
        let config = Agent::config_builder()
            .timeout_global(Some(timeout))
            // The exporter reads the status itself.
            .http_status_as_error(false)
            .max_redirects(0)
            .build();
        Client(config.new_agent())
    }
}

#[async_trait::async_trait]
impl HttpClient for Client {
    /// Blocks: the future is polled on the exporter's thread alone.
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (parts, body) = request.into_parts();
        let (parts, mut body) = self.0.run(Request::from_parts(parts, &body[..]))?.into_parts();
        let answer = body.with_config().limit(ANSWER_BYTES_MAX).read_to_vec()?;
        Ok(Response::from_parts(parts, Bytes::from(answer)))
    }
}
