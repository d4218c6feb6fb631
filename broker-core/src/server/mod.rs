//! Drives the engine.
mod clock;
mod lane;
mod link;
mod mailbox;
mod transport;

/// One lane with an echo shard on a port of its own; returns the address.
pub fn echo() -> std::io::Result<std::net::SocketAddr> {
    let lane = lane::Lane::new(Default::default(), clock::Clock::start())?;
    let mailbox = lane.mailbox();
    std::thread::spawn(move || lane.run());
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = stream.set_nonblocking(true);
            let _ = stream.set_nodelay(true);
            mailbox.send([lane::LaneMessage::Attach(transport::Transport::Tcp(mio::net::TcpStream::from_std(stream)))]);
        }
    });
    Ok(address)
}
