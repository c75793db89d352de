use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use hyper::header::HeaderMap;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::{Attempt, MAX_ANSWER_BYTES, MAX_ERROR_CHARS, Sender, request, with_causes};
use crate::address::{Policy, Resolver, SystemResolver, Turn};
use crate::schedule::Outcome;

/// Long enough for an answer on this machine, and short enough to wait for.
const TIMEOUT: Duration = Duration::from_millis(500);
const PATIENT: Duration = Duration::from_secs(30);

fn demo() -> Policy {
    Policy { allows_loopback: true, ..Policy::default() }
}

fn sender(policy: Policy, resolver: Arc<dyn Resolver>, timeout: Duration) -> Sender {
    Sender::new(policy, resolver, timeout, &[]).unwrap()
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Reads the head and the body `{}` of a request.
async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n{}") {
        let read = stream.read_buf(&mut request).await.unwrap();
        assert!(read > 0, "a whole request arrives");
    }
    String::from_utf8(request).unwrap()
}

/// A receiver that answers one request with these bytes, then repeats others until it is left.
async fn answering(first: &'static str, then: &'static [u8]) -> SocketAddr {
    let (listener, address) = listener().await;
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_request(&mut stream).await;
        stream.write_all(first.as_bytes()).await.unwrap();
        while !then.is_empty() && stream.write_all(then).await.is_ok() {
            tokio::task::yield_now().await;
        }
        // Without more to say, it waits until it is left.
        let _: io::Result<usize> = stream.read(&mut [0]).await;
    });
    address
}

async fn attempt_within(timeout: Duration, first: &'static str, then: &'static [u8]) -> Attempt {
    let sender = sender(demo(), Arc::new(SystemResolver::default()), timeout);
    let url = format!("http://{}/in", answering(first, then).await);
    sender.send(&url, HeaderMap::new(), Bytes::from_static(b"{}")).await
}

async fn attempt(first: &'static str) -> Attempt {
    attempt_within(PATIENT, first, b"").await
}

#[test]
fn a_url_is_sent_to_as_browsers_write_it() {
    for (url, written) in [
        ("https://bücher.example/in", "https://xn--bcher-kva.example/in"),
        ("https://example.com/ü{x}?q=\"ä\"", "https://example.com/%C3%BC%7Bx%7D?q=%22%C3%A4%22"),
        ("https://example.com\\in`", "https://example.com/in%60"),
    ] {
        let request = request(url, HeaderMap::new(), Bytes::new()).unwrap();
        assert_eq!(request.uri().to_string(), written);
    }
}

#[tokio::test]
async fn an_answer_with_2xx_is_a_success() {
    let attempt = attempt("HTTP/1.1 204 No Content\r\n\r\n").await;
    assert_eq!((attempt.status, attempt.outcome()), (Some(204), Outcome::Delivered));
}

#[tokio::test]
async fn no_other_answer_is_a_success() {
    for (answer, outcome) in [
        ("HTTP/1.1 500 Oh\r\ncontent-length: 3\r\n\r\nno\0", Outcome::Failed { retry_after: None }),
        ("HTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n", Outcome::Gone),
        (
            "HTTP/1.1 429 Wait\r\nretry-after: 70\r\ncontent-length: 0\r\n\r\n",
            Outcome::Failed { retry_after: Some(Duration::from_secs(70)) },
        ),
        (
            "HTTP/1.1 503 Wait\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\nretry-after: Sun, 06 Nov 1994 08:50:37 GMT\r\n\
             content-length: 0\r\n\r\n",
            Outcome::Failed { retry_after: Some(Duration::from_mins(1)) },
        ),
        (
            "HTTP/1.1 500 Oh\r\nretry-after: 70\r\ncontent-length: 0\r\n\r\n",
            Outcome::Failed { retry_after: None },
        ),
        ("riddle\r\n\r\n", Outcome::Failed { retry_after: None }),
    ] {
        assert_eq!(attempt(answer).await.outcome(), outcome, "{answer}");
    }
}

#[tokio::test]
async fn a_redirect_is_a_failure_and_is_not_followed() {
    let answer = "HTTP/1.1 307 Elsewhere\r\nlocation: http://127.0.0.1:9/\r\ncontent-length: 0\r\n\r\n";
    let attempt = attempt(answer).await;
    assert_eq!((attempt.status, attempt.outcome()), (Some(307), Outcome::Failed { retry_after: None }));
}

#[tokio::test]
async fn of_an_endless_answer_the_beginning_is_read() {
    let attempt =
        attempt_within(PATIENT, "HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n", &[b'x'; 4096]).await;
    assert_eq!(attempt.outcome(), Outcome::Delivered);
    assert_eq!(attempt.body.unwrap().len(), MAX_ANSWER_BYTES);
}

#[tokio::test]
async fn an_answer_without_an_end_fails_in_time() {
    for (first, status) in [
        ("", None),
        ("HTTP/1.1 200 OK\r\n", None),
        ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx", Some(200)),
    ] {
        let attempt = attempt_within(TIMEOUT, first, b"").await;
        assert_eq!((attempt.status, attempt.outcome()), (status, Outcome::Failed { retry_after: None }));
        assert_eq!(attempt.error.unwrap(), "no complete answer within 500 ms");
    }
}

#[tokio::test]
async fn an_endless_head_fails() {
    let attempt = attempt_within(PATIENT, "HTTP/1.1 200 OK\r\n", b"x-more: more\r\n").await;
    assert_eq!((attempt.status, attempt.error.is_some()), (None, true));
}

/// Answers every question with the next list of addresses, and remembers what was asked.
#[derive(Debug)]
struct Changing(Mutex<VecDeque<IpAddr>>);

#[async_trait]
impl Resolver for Changing {
    async fn addresses(&self, _name: &str, _: Turn) -> io::Result<Vec<IpAddr>> {
        Ok(self.0.lock().unwrap().pop_front().into_iter().collect())
    }
}

fn changing(addresses: &[&str]) -> Arc<Changing> {
    Arc::new(Changing(Mutex::new(addresses.iter().map(|address| address.parse().unwrap()).collect())))
}

#[tokio::test]
async fn a_name_that_turns_private_after_it_was_checked_is_refused() {
    let resolver = changing(&["8.8.8.8", "10.0.0.1"]);
    let policy = Policy::default();
    let url = "https://turning.example/in";
    assert!(policy.reach(url, &*resolver).await.is_ok(), "when it is saved");
    let sender = sender(policy, resolver, PATIENT);
    let attempt = sender.send(url, HeaderMap::new(), Bytes::new()).await;
    let error = attempt.error.unwrap();
    assert!(error.ends_with("turning.example leads to an address that is not public"), "{error}");
}

#[tokio::test]
async fn tls_and_host_name_the_host_while_the_connection_goes_to_the_address_that_was_checked() {
    let (listener, address) = listener().await;
    let (server, authority) = tls("inside.example");
    let resolver = changing(&["127.0.0.1", "127.0.0.1"]);
    let policy = Policy {
        ports: vec![address.port()],
        networks: vec!["127.0.0.0/8".parse().unwrap()],
        ..Policy::default()
    };
    let serving = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = TlsAcceptor::from(server).accept(stream).await.unwrap();
        let server_name = stream.get_ref().1.server_name().map(str::to_owned);
        let request = read_request(&mut stream).await;
        answer(&mut stream).await;
        (server_name, request)
    });
    let sending = Sender::new(policy, resolver, PATIENT, &[authority]).unwrap();
    let url = format!("https://inside.example:{}/in?a=1", address.port());
    let attempt = sending.send(&url, HeaderMap::new(), Bytes::from_static(b"{}")).await;
    assert_eq!(attempt.outcome(), Outcome::Delivered, "{attempt:?}");
    let (server_name, request) = serving.await.unwrap();
    assert_eq!(server_name.as_deref(), Some("inside.example"));
    assert!(request.starts_with("POST /in?a=1 HTTP/1.1\r\n"), "{request}");
    assert!(request.contains(&format!("\r\nhost: inside.example:{}\r\n", address.port())), "{request}");
}

async fn answer(stream: &mut (impl AsyncWrite + Unpin)) {
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    stream.flush().await.unwrap();
}

fn tls(name: &str) -> (Arc<ServerConfig>, CertificateDer<'static>) {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed([name.to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(signing_key.serialize_der().into());
    let provider = Arc::new(ring::default_provider());
    let server = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let server =
        server.unwrap().with_no_client_auth().with_single_cert(vec![cert.der().clone()], key).unwrap();
    (Arc::new(server), cert.der().clone())
}

/// A resolver that has no turn for anybody.
#[derive(Debug)]
struct Full;

#[async_trait]
impl Resolver for Full {
    async fn turn(&self) -> Option<Turn> {
        None
    }

    async fn addresses(&self, name: &str, _: Turn) -> io::Result<Vec<IpAddr>> {
        panic!("{name} has no turn")
    }
}

#[tokio::test]
async fn a_name_that_only_waited_is_no_attempt() {
    let attempt_at = async |resolver: Arc<dyn Resolver>| {
        let sender = sender(Policy::default(), resolver, PATIENT);
        sender.send("https://waiting.example/in", HeaderMap::new(), Bytes::new()).await
    };
    assert!(attempt_at(Arc::new(Full)).await.is_postponed);
    assert!(!attempt_at(changing(&[])).await.is_postponed);
}

/// Says of every name that it has these addresses.
#[derive(Debug)]
struct Fixed(Vec<IpAddr>);

#[async_trait]
impl Resolver for Fixed {
    async fn addresses(&self, _name: &str, _: Turn) -> io::Result<Vec<IpAddr>> {
        Ok(self.0.clone())
    }
}

/// A listener whose queue is full: Linux drops what else would connect to it.
async fn deaf(port: u16) -> (TcpListener, Vec<TcpStream>, IpAddr) {
    let ip = IpAddr::from([127, 0, 0, 7]);
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(ip, port)).unwrap();
    let listener = socket.listen(1).unwrap();
    let mut queued = vec![];
    while let Ok(connected) =
        tokio::time::timeout(Duration::from_millis(100), TcpStream::connect((ip, port))).await
    {
        queued.push(connected.unwrap());
    }
    (listener, queued, ip)
}

#[tokio::test]
async fn an_address_that_drops_packets_leaves_time_for_the_next_one() {
    let good = answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", b"").await;
    let (_listener, _queued, dropping) = deaf(good.port()).await;
    let resolver = Fixed(vec![dropping, good.ip()]);
    let sender = sender(demo(), Arc::new(resolver), Duration::from_secs(10));
    let url = format!("http://several.example:{}/in", good.port());
    let attempt = sender.send(&url, HeaderMap::new(), Bytes::from_static(b"{}")).await;
    assert_eq!(attempt.outcome(), Outcome::Delivered, "{attempt:?}");
}

#[test]
fn of_why_there_was_no_answer_the_beginning_is_kept() {
    let names = "€".repeat(2 * MAX_ERROR_CHARS);
    let error = io::Error::other(format!("the certificate is valid for {names}"));
    let kept = with_causes(&error);
    assert!(kept.starts_with("the certificate is valid for €") && kept.chars().count() == MAX_ERROR_CHARS);
}
