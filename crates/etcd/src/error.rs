//! How etcd can fail.

use hyper::StatusCode;

/// Why etcd could not be asked, or gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum EtcdError {
    /// The list of endpoints is empty.
    #[error("no endpoint of etcd is given")]
    NoEndpoint,
    /// One of the endpoints, counted from 1, is not one. It is not repeated, as it may have a password.
    #[error("endpoint {0} is no endpoint of etcd, such as http://10.0.0.1:2379")]
    Endpoint(usize),
    /// Certificates cannot be used.
    #[error("TLS for etcd cannot be set up")]
    Tls(#[from] tokio_rustls::rustls::Error),
    /// A request could not be made.
    #[error("no request for etcd can be made")]
    Request(#[from] hyper::http::Error),
    /// An endpoint has not answered in time.
    #[error("no answer within {0} s")]
    Late(u64),
    /// An endpoint cannot be reached.
    #[error("cannot be reached")]
    Connection(#[from] hyper_util::client::legacy::Error),
    /// An answer broke off, or is too long.
    #[error("the answer cannot be read")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// An answer is none of etcd's.
    #[error("the answer is none of etcd's")]
    Answer(#[from] serde_json::Error),
    /// A value was not written by this software.
    #[error("what is stored is no text")]
    Value,
    /// An endpoint has refused a request.
    #[error("answered {status}: {message}")]
    Refused {
        /// Its status.
        status: StatusCode,
        /// What it says.
        message: String,
    },
    /// No endpoint has answered.
    #[error("no etcd answers: {0}")]
    All(String),
}
