//! What carries the bytes of a client: shards in this thread, or sockets to a process.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use culex_tests::wire::Connect;
use culex_tests::world::{Peer, World};

/// Connections by number.
pub(crate) trait Network {
    /// Sends CONNECT; `None` if it is refused at once.
    fn connect(&mut self, connect: &Connect) -> Option<usize>;
    fn send(&mut self, peer: usize, bytes: &[u8]);
    /// Ends a connection without DISCONNECT.
    fn lose(&mut self, peer: usize);
    /// What came since the last call, in whole packets or not.
    fn take_output(&mut self, peer: usize) -> Vec<u8>;
    /// Whether nothing will come any more.
    fn is_closed(&self, peer: usize) -> bool;
}

/// Shards in this thread.
pub(crate) struct Local {
    pub(crate) world: World,
    peers: Vec<Peer>,
}

impl Local {
    pub(crate) fn new(world: World) -> Self {
        Self { world, peers: Vec::new() }
    }
}

impl Network for Local {
    fn connect(&mut self, connect: &Connect) -> Option<usize> {
        self.peers.push(self.world.connect(connect).ok()?);
        Some(self.peers.len() - 1)
    }

    fn send(&mut self, peer: usize, bytes: &[u8]) {
        self.world.send(self.peers[peer], bytes);
    }

    fn lose(&mut self, peer: usize) {
        self.world.lose(self.peers[peer]);
    }

    fn take_output(&mut self, peer: usize) -> Vec<u8> {
        self.world.take_output(self.peers[peer])
    }

    fn is_closed(&self, peer: usize) -> bool {
        self.world.is_closed(self.peers[peer])
    }
}

/// Sockets to a process.
pub(crate) struct Sockets {
    addr: SocketAddr,
    streams: Vec<Option<TcpStream>>,
}

impl Sockets {
    pub(crate) fn new(addr: SocketAddr) -> Self {
        Self { addr, streams: Vec::new() }
    }
}

impl Network for Sockets {
    fn connect(&mut self, connect: &Connect) -> Option<usize> {
        let mut stream = TcpStream::connect(self.addr).ok()?;
        stream.write_all(&connect.encode()).ok()?;
        stream.set_nodelay(true).ok()?;
        stream.set_nonblocking(true).ok()?;
        self.streams.push(Some(stream));
        Some(self.streams.len() - 1)
    }

    fn send(&mut self, peer: usize, bytes: &[u8]) {
        // The packets are few and small: a socket that does not take them is broken.
        let is_sent = self.streams[peer].as_mut().is_some_and(|stream| stream.write_all(bytes).is_ok());
        if !is_sent {
            self.streams[peer] = None;
        }
    }

    fn lose(&mut self, peer: usize) {
        self.streams[peer] = None;
    }

    fn take_output(&mut self, peer: usize) -> Vec<u8> {
        let mut output = Vec::new();
        let mut buffer = [0; 4096];
        while let Some(stream) = &mut self.streams[peer] {
            match stream.read(&mut buffer) {
                Ok(0) => self.streams[peer] = None,
                Ok(len) => output.extend_from_slice(&buffer[..len]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => self.streams[peer] = None,
            }
        }
        output
    }

    fn is_closed(&self, peer: usize) -> bool {
        self.streams[peer].is_none()
    }
}
