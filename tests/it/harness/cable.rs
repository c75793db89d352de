//! A connection to the service that breaks after a given number of bytes of the answer.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;

use super::caller::Caller;

impl Caller {
    /// The same caller over a proxy that carries one connection, and breaks it after `bytes` bytes from the service.
    pub(crate) fn over_a_cable_cut_after(&self, bytes: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near_end = format!("http://{}", listener.local_addr().unwrap());
        let far_end = self.authority().to_owned();
        thread::spawn(move || {
            let (near, _) = listener.accept().unwrap();
            carry(&near, &TcpStream::connect(far_end).unwrap(), bytes);
        });
        self.at(&near_end)
    }
}

fn carry(mut near: &TcpStream, mut far: &TcpStream, mut left: usize) {
    let (mut asking, mut to_service) = (near.try_clone().unwrap(), far.try_clone().unwrap());
    // The thread ends when one of the two connections is closed.
    thread::spawn(move || std::io::copy(&mut asking, &mut to_service));
    let mut buffer = [0; 1024];
    while left > 0 {
        let wanted = left.min(buffer.len());
        let read = far.read(&mut buffer[..wanted]).unwrap();
        if read == 0 || near.write_all(&buffer[..read]).is_err() {
            break;
        }
        left -= read;
    }
    for side in [near, far] {
        let _ = side.shutdown(Shutdown::Both);
    }
}
