//! Reads as much of an HTTP/1.1 answer as the load needs: where it ends, and whether it is a success.

use anyhow::Context as _;

/// An answer that is being read.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    /// The bytes that were read so far.
    pub(crate) bytes: Vec<u8>,
    body: Option<Body>,
}

/// How the end of the body is found.
#[derive(Debug, Clone, Copy)]
enum Body {
    /// The body ends at this byte of the answer.
    EndsAt(usize),
    /// The body is chunked; the last chunk is empty.
    Chunked,
}

impl Answer {
    /// Resets for the next answer.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.body = None;
    }

    /// Whether the answer is complete.
    pub(crate) fn is_complete(&mut self) -> anyhow::Result<bool> {
        if self.body.is_none() {
            self.body = self.find_body()?;
        }
        Ok(match self.body {
            None => false,
            Some(Body::EndsAt(end)) => self.bytes.len() >= end,
            // The bodies are JSON without line breaks, so these bytes occur only at the end.
            Some(Body::Chunked) => self.bytes.ends_with(b"0\r\n\r\n"),
        })
    }

    /// Whether its status is 2xx.
    pub(crate) fn is_success(&self) -> bool {
        self.bytes.starts_with(b"HTTP/1.1 2")
    }

    fn find_body(&self) -> anyhow::Result<Option<Body>> {
        let Some(end) = self.bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
            return Ok(None);
        };
        let head = self.bytes.get(..end).unwrap_or_default();
        let head = std::str::from_utf8(head).context("the head of an answer is not text")?;
        let mut length = 0;
        for line in head.split("\r\n").skip(1) {
            let (name, value) = line.split_once(':').context("a header has no colon")?;
            if name.eq_ignore_ascii_case("transfer-encoding") {
                return Ok(Some(Body::Chunked));
            }
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse::<usize>().context("the length of an answer is no number")?;
            }
        }
        Ok(Some(Body::EndsAt(end + 4 + length)))
    }
}

#[cfg(test)]
mod tests {
    use super::Answer;

    fn check(text: &str, complete: bool) {
        let mut answer = Answer { bytes: text.as_bytes().to_vec(), ..Answer::default() };
        assert_eq!(answer.is_complete().unwrap(), complete, "{text:?}");
    }

    #[test]
    fn an_answer_ends_where_its_head_says() {
        check("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n", false);
        check("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{", false);
        check("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", true);
        check("HTTP/1.1 204 No Content\r\n\r\n", true);
        check("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n", false);
        check("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", true);
    }
}
