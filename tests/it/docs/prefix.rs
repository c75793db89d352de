//! A reverse proxy that serves the service below a path prefix. It passes one request on for each connection.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread;

/// Starts a proxy before the service at `upstream`, and returns its address.
pub(super) fn serve(prefix: &'static str, upstream: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let upstream = upstream.trim_start_matches("http://").to_owned();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let upstream = upstream.clone();
            // A connection that breaks ends the thread.
            thread::spawn(move || drop(pass_on(&client, prefix, &upstream)));
        }
    });
    format!("http://{address}{prefix}")
}

/// Passes on the request of a connection, without the prefix, and the answer to it. Anything that is not below the prefix is 404.
fn pass_on(mut client: &TcpStream, prefix: &str, upstream: &str) -> std::io::Result<()> {
    let mut reader = BufReader::new(client);
    let mut request = String::new();
    reader.read_line(&mut request)?;
    let mut head = request.replacen(&format!(" {prefix}/"), " /", 1);
    if head == request {
        return client.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    }
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let lower = line.to_ascii_lowercase();
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if !lower.starts_with("connection:") {
            head += &line;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let mut service = TcpStream::connect(upstream)?;
    service.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes())?;
    service.write_all(&body)?;
    std::io::copy(&mut service, &mut client).map(drop)
}
