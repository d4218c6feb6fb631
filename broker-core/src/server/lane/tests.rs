use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Instant;

use culex_codec::{Decoded, Packet, ProtocolVersion, decode};

use super::*;
use crate::engine::admit;
use crate::engine::question::Asks;
use crate::engine::shard::ShardConfig;
use crate::engine::store::Stored;
use crate::limits::{Limit, Limits};
use crate::server::admit::Rooms;
use crate::server::clock::tick_of;
use crate::server::hooks::HookSet;
use crate::server::metrics::Metrics;
use crate::server::socket::Socket;
use crate::server::store::Door;
use crate::server::transport::Transport;

/// A door for tests alone: bytes that hold this make the shard panic, as a defect would.
pub(crate) const PANIC: &[u8] = b"$test/panic";

pub(crate) fn panic_if_asked(bytes: &[u8]) {
    assert!(!bytes.windows(PANIC.len()).any(|window| window == PANIC), "asked to panic");
}

/// A lane without a worker, driven step by step.
struct Bench {
    lane: Lane,
    neighbours: Neighbours,
    rooms: Arc<Rooms>,
    listener: TcpListener,
}

/// A client, and the broker's end of its connection to look into.
struct Client {
    stream: TcpStream,
    end: TcpStream,
}

impl Bench {
    fn new() -> Self {
        Self::with(Limits::default())
    }

    fn with(limits: Limits) -> Self {
        let commons = Arc::new(SharedCommons::new(&limits, (1, 2), &Stored::default()));
        let metrics = Metrics {
            lanes: Vec::new(),
            front_door: Default::default(),
            commons: Arc::clone(&commons),
            store: None,
        };
        let rooms = Rooms::new(&limits, Arc::new(metrics));
        let poll = Poll::new().unwrap();
        let mailbox = Mailbox::new(&poll).unwrap();
        let mailboxes = vec![Arc::clone(&mailbox)];
        let departure = Arc::new(Departure::new(mailboxes.clone()));
        // Nothing is asked, so nothing has to run.
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let hooks = Arc::new(Hooks::new(HookSet::default(), &limits, runtime.handle().clone()));
        let (id, hash_keys) = (ShardId(0), (1, 2));
        let shard = Shard::new(ShardConfig { id, limits, hash_keys, asks: Asks::default() });
        let lane = Lane::new(
            (ShardId(0), shard),
            (poll, mailbox),
            departure,
            Clock::start(),
            Arc::default(),
            (Door::Memory, Duration::from_secs(60)),
        );
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let neighbours = Neighbours { mailboxes, commons, events: Arc::default(), hooks };
        Self { lane, neighbours, rooms, listener }
    }

    /// A client with a Keep Alive of 10 seconds that has its CONNACK.
    fn connect(&mut self, number: u8) -> Client {
        let head = [0x10, 15, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 10, 0, 3];
        let packet = [&head[..], format!("{number:03}").as_bytes()].concat();
        let stream = TcpStream::connect(self.listener.local_addr().unwrap()).unwrap();
        let (end, address) = self.listener.accept().unwrap();
        end.set_nonblocking(true).unwrap();
        let Ok(Decoded::Packet { packet: Packet::Connect(connect), .. }) =
            decode(&packet, ProtocolVersion::V311, 1000)
        else {
            panic!("not a CONNECT");
        };
        let limits = Limits::default();
        let admission = admit(&connect, || "".into(), &limits, u64::from(number), "".into()).unwrap();
        let permit = self.rooms.enter(Some(address.ip()), None).unwrap_or_else(|limit| panic!("{limit}"));
        let transport =
            Transport::Socket(Socket::Tcp(mio::net::TcpStream::from_std(end.try_clone().unwrap())));
        let newcomer = Newcomer { transport, admission, unread: Vec::new(), permit };
        self.lane.mailbox.send([LaneMessage::Attach(Box::new(newcomer))], 0);
        self.round();
        let mut client = Client { stream, end };
        assert_eq!(client.read(), [0x20, 2, 0, 0]);
        client
    }

    fn round(&mut self) {
        let polled = self.poll();
        self.turn(polled);
    }

    fn poll(&mut self) -> Tick {
        let before = tick_of(self.lane.clock.elapsed());
        assert!(self.lane.poll(Some(Duration::ZERO), |_| {}).unwrap());
        before
    }

    fn turn(&mut self, polled: Tick) {
        if self.lane.has_work(polled) {
            self.lane.turn(polled, &self.neighbours);
        }
    }

    fn connections(&self) -> u64 {
        self.lane.shard.stats().connections
    }
}

impl Client {
    fn read<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.stream.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// Sends PINGREQ, and returns when it has arrived.
    fn ping(&mut self) {
        self.send(&[0xC0, 0]);
    }

    /// Sends bytes, and returns when they have arrived.
    fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
        let begin = Instant::now();
        while self.end.peek(&mut vec![0; bytes.len()]).unwrap_or(0) < bytes.len() {
            assert!(begin.elapsed() < Duration::from_secs(20), "nothing arrives");
            std::thread::yield_now();
        }
    }
}

#[test]
fn a_client_whose_bytes_wait_unread_is_not_silent_however_long_the_process_was_stopped() {
    let mut bench = Bench::new();
    // More than are read in one turn.
    let mut clients: Vec<_> = (0..200).map(|number| bench.connect(number)).collect();
    let mut silent = bench.connect(200);
    clients.iter_mut().for_each(Client::ping);
    bench.lane.clock.skip(Duration::from_secs(3600));
    while bench.connections() > 200 {
        bench.round();
    }
    for client in &mut clients {
        assert_eq!(client.read(), [0xD0, 0]);
    }
    assert_eq!(bench.connections(), 200);
    assert_eq!(silent.stream.read(&mut [0; 1]).unwrap(), 0, "a silent client is closed");
    // Now they are silent too.
    bench.lane.clock.skip(Duration::from_secs(3600));
    bench.round();
    assert_eq!(bench.connections(), 0);
}

#[test]
fn a_stop_between_looking_and_reading_counts_neither() {
    let mut bench = Bench::new();
    let mut client = bench.connect(1);
    let polled = bench.poll();
    client.ping();
    bench.lane.clock.skip(Duration::from_secs(3600));
    bench.lane.turn(polled, &bench.neighbours);
    assert_eq!(bench.connections(), 1);
    bench.round();
    assert_eq!(client.read(), [0xD0, 0]);
}

#[test]
fn timers_go_on_while_others_are_read_all_the_time() {
    let mut bench = Bench::new();
    let mut busy: Vec<_> = (0..100).map(|number| bench.connect(number)).collect();
    let _silent = bench.connect(100);
    let mut rounds = 0;
    while bench.connections() > 100 {
        bench.lane.clock.skip(Duration::from_secs(1));
        // There is always somebody left over.
        busy.iter_mut().for_each(Client::ping);
        bench.round();
        rounds += 1;
        assert!(rounds < 20, "the silent client outlives its Keep Alive");
    }
}

#[test]
fn a_flood_waits_in_its_socket_and_comes_whole_as_time_passes() {
    const COUNT: u64 = 30;
    let messages_per_second = Limit::at_most(1).unwrap();
    let mut bench = Bench::with(Limits { messages_per_second, ..Limits::default() });
    let mut client = bench.connect(1);
    let begin = Instant::now();
    let mut bytes = [0x30, 4, 0, 1, b't', b'x'].repeat(usize::try_from(COUNT).unwrap());
    bytes.extend([0xC0, 0]);
    client.send(&bytes);
    let mut skips = 0;
    loop {
        bench.round();
        bench.round();
        let received = bench.lane.shard.stats().messages_received;
        // One at once, one for each hour, and one for each second that this test really took.
        let most = 1 + skips + begin.elapsed().as_secs() + 1;
        assert!(received <= most, "{received} messages after {skips} hours");
        if received == COUNT {
            break;
        }
        assert!(skips < COUNT, "{received} messages after {skips} hours");
        bench.lane.clock.skip(Duration::from_secs(3600));
        skips += 1;
    }
    bench.lane.clock.skip(Duration::from_secs(1));
    bench.round();
    bench.round();
    assert_eq!(client.read(), [0xD0, 0]);
    assert_eq!(bench.connections(), 1, "it was never silent");
}
