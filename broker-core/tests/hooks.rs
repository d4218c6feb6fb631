//! Hooks over sockets: who comes in, what is let through, and what a bad hook costs.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a broker or a peer that does not answer is a failed test"
)]

use std::future::pending;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use culex_core::hooks::{Access, Action, Authenticator, Decision, Login, Message};
use culex_core::limits::Limits;
use culex_core::{Broker, BrokerBuilder, Event, WeakBroker};
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;

/// Nothing here takes so long; it ends a test that hangs.
const PATIENCE: Duration = Duration::from_secs(20);

struct Server {
    runtime: Runtime,
    broker: Broker,
    addr: SocketAddr,
}

impl Server {
    fn start(builder: BrokerBuilder) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let builder = builder.listen(([127, 0, 0, 1], 0));
        let broker = runtime.block_on(builder.start()).unwrap();
        let addr = broker.local_addrs()[0];
        Self { runtime, broker, addr }
    }

    fn connect(&self, client_id: &str) -> Client {
        let mut client = self.raw();
        client.send(&connect(client_id, &[]));
        assert_eq!(client.packet(), (0x20, vec![0, 0]));
        client
    }

    fn raw(&self) -> Client {
        let stream = TcpStream::connect(self.addr).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Client { stream }
    }

    /// The Connect Return Code of a CONNECT; then the connection is closed if it is a refusal.
    fn code_of(&self, packet: &[u8]) -> u8 {
        let mut client = self.raw();
        client.send(packet);
        let (first, body) = client.packet();
        assert_eq!((first, body[0]), (0x20, 0));
        if body[1] != 0 {
            client.assert_closed();
        }
        body[1]
    }

    fn metric(&self, name: &str) -> u64 {
        self.broker.metrics().get(name).unwrap_or_else(|| panic!("no metric {name}"))
    }

    fn await_metric(&self, name: &str, expected: u64) {
        let begin = Instant::now();
        while self.metric(name) != expected {
            assert!(begin.elapsed() < PATIENCE, "{name} stays {}", self.metric(name));
            std::thread::yield_now();
        }
    }

    fn stop(&self) {
        self.runtime.block_on(self.broker.shutdown(PATIENCE)).unwrap();
    }
}

struct Client {
    stream: TcpStream,
}

impl Client {
    fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// First byte and body of the next packet, which is short.
    fn packet(&mut self) -> (u8, Vec<u8>) {
        let mut head = [0; 2];
        self.stream.read_exact(&mut head).unwrap();
        assert!(head[1] < 128);
        let mut body = vec![0; usize::from(head[1])];
        self.stream.read_exact(&mut body).unwrap();
        (head[0], body)
    }

    /// The next packet is a PUBLISH of QoS 0: its topic and payload.
    fn message(&mut self) -> (String, String) {
        let (first, body) = self.packet();
        assert_eq!(first, 0x30, "{body:?}");
        let length = usize::from(body[1]);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        (text(&body[2..2 + length]), text(&body[2 + length..]))
    }

    fn assert_closed(&mut self) {
        let mut byte = [0; 1];
        match self.stream.read(&mut byte) {
            Ok(0) => {}
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {}
            other => panic!("not closed: {other:?} {byte:?}"),
        }
    }

    fn subscribe(&mut self, filter: &str, qos: u8) -> u8 {
        self.send(&subscribe(&[(filter, qos)]));
        let (first, body) = self.packet();
        assert_eq!((first, body.len()), (0x90, 3));
        body[2]
    }

    /// A round trip: everything sent before was handled.
    fn ping(&mut self) {
        self.send(&[0xC0, 0]);
        assert_eq!(self.packet(), (0xD0, vec![]));
    }
}

fn frame(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first, u8::try_from(body.len()).unwrap()];
    assert!(body.len() < 128);
    packet.extend_from_slice(body);
    packet
}

fn string(text: &str) -> Vec<u8> {
    let mut bytes = u16::try_from(text.len()).unwrap().to_be_bytes().to_vec();
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

/// A CONNECT with Clean Session 1; `fields` are flags and what they bring.
fn connect(client_id: &str, fields: &[(u8, &[&str])]) -> Vec<u8> {
    let flags = fields.iter().fold(2, |flags, (flag, _)| flags | flag);
    let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', 4, flags, 0, 0];
    body.extend(string(client_id));
    body.extend(fields.iter().flat_map(|(_, texts)| *texts).flat_map(|text| string(text)));
    frame(0x10, &body)
}

const WILL: u8 = 0x04;
const USER: u8 = 0x80;
const PASSWORD: u8 = 0x40;

fn login(client_id: &str, user: &str, password: &str) -> Vec<u8> {
    connect(client_id, &[(USER, &[user]), (PASSWORD, &[password])])
}

fn subscribe(filters: &[(&str, u8)]) -> Vec<u8> {
    let mut body = vec![0, 1];
    for (filter, qos) in filters {
        body.extend(string(filter));
        body.push(*qos);
    }
    frame(0x82, &body)
}

fn publish(topic: &str, payload: &str, qos: u8, id: u8) -> Vec<u8> {
    let mut body = string(topic);
    if qos > 0 {
        body.extend([0, id]);
    }
    body.extend(payload.as_bytes());
    frame(0x30 | (qos << 1), &body)
}

#[test]
fn a_login_is_accepted_or_refused_with_the_right_code() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let logins = Arc::clone(&seen);
    let server = Server::start(Broker::builder().authenticate(move |login: Login| {
        let logins = Arc::clone(&logins);
        async move {
            let text = format!("{login:?}");
            assert!(
                !text.contains("secret") && login.address().is_some_and(|address| address.ip().is_loopback())
            );
            let named = login.user_name().map(str::to_owned);
            logins.lock().unwrap().push((
                named,
                login.password().map(<[u8]>::len),
                login.client_id().to_owned(),
            ));
            match (login.user_name(), login.password()) {
                (Some("ann"), Some(b"secret")) => Decision::Accept,
                (Some("eve"), _) => Decision::NotAuthorized,
                (Some("bob"), _) => Decision::Unavailable,
                (Some("zoe"), _) => panic!("a hook that panics"),
                _ => Decision::BadCredentials,
            }
        }
    }));
    let mut events = server.broker.events();
    let codes = [
        (login("c1", "ann", "secret"), 0),
        (login("c2", "ann", "wrong"), 4),
        (login("c3", "eve", "secret"), 5),
        (login("c4", "bob", "secret"), 3),
        (login("c5", "zoe", "secret"), 3),
        (connect("", &[]), 4),
        (connect("c7", &[(USER, &[""])]), 4),
        (login("c8", "ann", "secret"), 0),
    ];
    for (packet, code) in &codes {
        assert_eq!(server.code_of(packet), *code, "{packet:?}");
    }
    let seen = std::mem::take(&mut *seen.lock().unwrap());
    assert_eq!(seen[5].0, None, "what is absent is not empty");
    assert_eq!(seen[5].1, None);
    assert!(seen[5].2.starts_with("auto-"), "a generated ClientId is known: {seen:?}");
    assert_eq!((seen[6].0.as_deref(), seen[6].1), (Some(""), None));
    assert_eq!((server.metric("connect_unauthorized"), server.metric("connect_unavailable")), (4, 2));
    assert_eq!(server.metric("pre_auth_bytes"), 0);
    let failed = server.runtime.block_on(async {
        let mut failed = Vec::new();
        while failed.len() < 4 {
            if let Event::AuthenticationFailed { user_name, .. } = &*events.next().await.unwrap() {
                failed.push(user_name.clone());
            }
        }
        failed
    });
    assert_eq!(failed, [Some("ann".into()), Some("eve".into()), None, Some("".into())]);
    server.stop();
}

/// One user of its own.
struct Only(&'static str);

impl Authenticator for Only {
    async fn authenticate(&self, login: Login) -> Decision {
        match login.user_name() {
            Some(name) if name == self.0 => (login.password() == Some(b"secret")).into(),
            _ => Decision::NotMine,
        }
    }
}

#[test]
fn authenticators_are_asked_in_order_until_one_decides() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let last = Arc::clone(&asked);
    let builder = Broker::builder().authenticate(Only("ann")).authenticate(Only("bob")).authenticate(
        move |login: Login| {
            last.lock().unwrap().push(login.client_id().to_owned());
            async { Decision::NotMine }
        },
    );
    let server = Server::start(builder);
    for (packet, code) in [
        (login("c1", "ann", "secret"), 0),
        (login("c2", "ann", "wrong"), 4),
        (login("c3", "bob", "secret"), 0),
        (login("c4", "eve", "secret"), 4),
        (connect("c5", &[]), 5),
        (connect("c6", &[(USER, &[""])]), 4),
    ] {
        assert_eq!(server.code_of(&packet), code, "{packet:?}");
    }
    assert_eq!(*asked.lock().unwrap(), ["c4", "c5", "c6"], "who is decided on is asked about no more");
    server.stop();
}

#[test]
fn a_login_knows_its_listener() {
    let builder = Broker::builder().listen(([127, 0, 0, 1], 0));
    let server =
        Server::start(builder.authenticate(|login: Login| async move {
            login.client_id() == format!("{:?}", login.listener())
        }));
    let addresses = server.broker.local_addrs();
    for (number, addr) in addresses.into_iter().enumerate() {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut client = Client { stream };
        client.send(&connect(&format!("Some({number})"), &[]));
        assert_eq!(client.packet(), (0x20, vec![0, 0]));
    }
    server.stop();
}

#[test]
fn a_login_hook_that_never_answers_ends_within_its_time() {
    for limits in [
        Limits { hook_timeout: Duration::from_millis(50), ..Limits::default() },
        Limits { connect_timeout: Duration::from_secs(1), ..Limits::default() },
    ] {
        let builder = Broker::builder().limits(limits);
        let server = Server::start(builder.authenticate(|login: Login| async move {
            if login.client_id() == "slow" {
                pending::<()>().await;
            }
            true
        }));
        let mut slow = server.raw();
        slow.send(&connect("slow", &[]));
        server.connect("quick").ping();
        assert_eq!(slow.packet(), (0x20, vec![0, 3]));
        slow.assert_closed();
        server.stop();
    }
}

#[test]
fn publishing_and_subscribing_are_authorized() {
    let server = Server::start(Broker::builder().authorize(|access: Access| async move {
        assert_eq!(access.is_subscribe(), access.action() == Action::Subscribe);
        access.topic().starts_with("public/")
    }));
    let mut client = server.connect("a");
    client.send(&subscribe(&[("public/#", 1), ("#", 0), ("secret", 2), ("public/x", 0)]));
    assert_eq!(client.packet(), (0x90, vec![0, 1, 1, 0x80, 0x80, 0]));
    client.send(&publish("secret", "1", 1, 7));
    assert_eq!(client.packet(), (0x40, vec![0, 7]), "3.1.1 cannot say no");
    client.send(&publish("public/x", "2", 0, 0));
    assert_eq!(client.message(), ("public/x".into(), "2".into()));
    client.ping();
    for (name, count) in
        [("messages_refused", 1), ("subscriptions_denied", 2), ("questions", 3), ("questions_open", 0)]
    {
        server.await_metric(name, count);
    }
    // The will is a publication like any other, and so is its topic.
    assert_eq!(server.code_of(&connect("b", &[(WILL, &["secret", "gone"])])), 5);
    assert_eq!(server.code_of(&connect("b", &[(WILL, &["public/x", "gone"])])), 0);
    assert_eq!(client.message(), ("public/x".into(), "gone".into()));
    server.stop();
}

#[test]
fn messages_are_changed_and_dropped_and_so_are_wills() {
    let server = Server::start(Broker::builder().on_publish(|mut message: Message| async move {
        if message.payload().is_empty() {
            return None;
        }
        let prefix = if message.is_will() { "will" } else { "seen" };
        message.set_topic(&format!("{prefix}/{}", message.topic())).unwrap();
        let upper = message.payload().to_ascii_uppercase();
        message.set_payload(upper).unwrap();
        assert!(message.set_topic("$SYS/x").is_err() && message.set_topic("a/#").is_err());
        Some(message)
    }));
    let mut client = server.connect("a");
    assert_eq!(client.subscribe("#", 0), 0);
    for (payload, qos, code) in [("", 1, 0x40), ("x", 1, 0x40), ("", 2, 0x50)] {
        client.send(&publish("t", payload, qos, 3));
        if !payload.is_empty() {
            assert_eq!(client.message(), ("seen/t".into(), "X".into()));
        }
        assert_eq!(client.packet(), (code, vec![0, 3]));
    }
    server.await_metric("messages_dropped_by_hook", 2);
    for payload in ["", "bye"] {
        assert_eq!(server.code_of(&connect("b", &[(WILL, &["w", payload])])), 0);
    }
    assert_eq!(client.message(), ("will/w".into(), "BYE".into()));
    server.stop();
}

#[test]
fn packets_in_one_read_keep_their_order_through_a_hook() {
    const COUNT: usize = 3000;
    let server = Server::start(Broker::builder().on_publish(|message: Message| async move {
        // Every third waits for another task, so an answer could overtake if it were allowed to.
        if message.payload().last().is_some_and(|digit| digit % 3 == 0) {
            tokio::task::yield_now().await;
        }
        Some(message)
    }));
    let mut subscriber = server.connect("subscriber");
    assert_eq!(subscriber.subscribe("t", 0), 0);
    let mut publisher = server.connect("publisher");
    let mut packets = Vec::new();
    for number in 0..COUNT {
        let qos = u8::try_from(number % 3).unwrap();
        packets.extend(publish("t", &number.to_string(), qos, u8::try_from(1 + number % 250).unwrap()));
        if qos == 2 {
            packets.extend([0x62, 2, 0, u8::try_from(1 + number % 250).unwrap()]);
        }
    }
    let mut writer = Client { stream: publisher.stream.try_clone().unwrap() };
    let writing = std::thread::spawn(move || writer.send(&packets));
    for number in 0..COUNT {
        assert_eq!(subscriber.message().1, number.to_string());
        let id = u8::try_from(1 + number % 250).unwrap();
        let answers: &[u8] = [&[][..], &[0x40], &[0x50, 0x70]][number % 3];
        for first in answers {
            assert_eq!(publisher.packet(), (*first, vec![0, id]), "message {number}");
        }
    }
    writing.join().unwrap();
    server.stop();
}

#[test]
fn a_hook_that_panics_closes_its_client_alone() {
    let server = Server::start(
        Broker::builder()
            .authorize(|access: Access| async move {
                assert_ne!(access.topic(), "panic", "a hook that panics");
                true
            })
            .on_publish(|message: Message| {
                // Before there is a future at all.
                assert_ne!(message.topic(), "at once", "a hook that panics");
                async move { Some(message) }
            }),
    );
    let mut watcher = server.connect("watcher");
    assert_eq!(watcher.subscribe("#", 0), 0);
    for topic in ["panic", "at once"] {
        let mut client = server.raw();
        client.send(&connect(topic, &[(WILL, &["will", topic])]));
        assert_eq!(client.packet(), (0x20, vec![0, 0]));
        client.send(&publish(topic, "x", 1, 1));
        client.assert_closed();
        assert_eq!(watcher.message(), ("will".into(), topic.into()));
    }
    let mut client = server.connect("c");
    client.send(&subscribe(&[("a", 0), ("panic", 0)]));
    client.assert_closed();
    watcher.ping();
    server.await_metric("connections_hook_failed", 3);
    assert_eq!(server.metric("panics"), 0);
    server.stop();
}

/// A hook that waits for a permit for every message to "slow".
fn gated(gate: &Arc<Semaphore>, limits: Limits) -> Server {
    let gate = Arc::clone(gate);
    Server::start(Broker::builder().limits(limits).on_publish(move |message: Message| {
        let gate = Arc::clone(&gate);
        async move {
            if message.topic() == "slow" {
                gate.acquire().await.unwrap().forget();
            }
            Some(message)
        }
    }))
}

#[test]
fn a_slow_hook_delays_its_client_alone() {
    let gate = Arc::new(Semaphore::new(0));
    let server = gated(&gate, Limits::default());
    let mut other = server.connect("other");
    assert_eq!(other.subscribe("#", 0), 0);
    let mut slow = server.connect("slow");
    slow.send(&[publish("slow", "1", 1, 1), publish("quick", "2", 1, 2), vec![0xC0, 0]].concat());
    server.await_metric("questions_open", 1);
    for number in 0..100 {
        let payload = number.to_string();
        other.send(&publish("quick", &payload, 0, 0));
        assert_eq!(other.message(), ("quick".into(), payload));
    }
    server.connect("new").ping();
    gate.add_permits(1);
    assert_eq!(slow.packet(), (0x40, vec![0, 1]));
    assert_eq!(slow.packet(), (0x40, vec![0, 2]));
    assert_eq!(slow.packet(), (0xD0, vec![]));
    assert_eq!(other.message(), ("slow".into(), "1".into()));
    server.stop();
}

#[test]
fn a_hook_that_never_answers_costs_its_client_the_connection() {
    let gate = Arc::new(Semaphore::new(0));
    let server = gated(&gate, Limits { hook_timeout: Duration::from_millis(50), ..Limits::default() });
    let mut other = server.connect("other");
    let mut slow = server.connect("slow");
    slow.send(&publish("slow", "1", 1, 1));
    slow.assert_closed();
    other.ping();
    server.await_metric("connections_hook_failed", 1);
    server.stop();
}

#[test]
fn an_open_question_ends_with_its_connection_and_its_hook_with_it() {
    let gate = Arc::new(Semaphore::new(0));
    let server = gated(&gate, Limits { hook_timeout: Duration::from_secs(600), ..Limits::default() });
    // However often a client takes itself over, one hook runs for it.
    let mut last = server.raw();
    for number in 1..=50 {
        let mut client = server.connect("a");
        client.send(&publish("slow", "x", 1, 1));
        server.await_metric("questions", number);
        last = client;
    }
    let begin = Instant::now();
    // The gate is held by the test, the hook that waits, and those that are not given up yet.
    let tasks = || server.runtime.metrics().num_alive_tasks();
    while tasks() > 2 {
        assert!(begin.elapsed() < PATIENCE, "{} tasks", tasks());
        std::thread::yield_now();
    }
    // Whoever has gone with a question open is not noticed before its answer, but never longer than its time.
    drop(last);
    gate.add_permits(1);
    server.await_metric("connections", 0);
    server.await_metric("questions_open", 0);
    server.stop();
}

#[test]
fn a_broker_stops_and_is_dropped_with_questions_open() {
    for is_dropped in [false, true] {
        let gate = Arc::new(Semaphore::new(0));
        let server = gated(&gate, Limits { hook_timeout: Duration::from_secs(600), ..Limits::default() });
        let mut slow = server.connect("slow");
        slow.send(&publish("slow", "x", 1, 1));
        server.await_metric("questions_open", 1);
        if is_dropped {
            let Server { runtime, broker, .. } = server;
            drop(broker);
            slow.assert_closed();
            drop(runtime);
        } else {
            server.stop();
            slow.assert_closed();
        }
    }
}

#[test]
fn a_runtime_that_has_ended_leaves_nobody_waiting() {
    let gate = Arc::new(Semaphore::new(0));
    let server = gated(&gate, Limits { hook_timeout: Duration::from_secs(600), ..Limits::default() });
    let (mut early, mut late) = (server.connect("early"), server.connect("late"));
    early.send(&publish("slow", "x", 1, 1));
    server.await_metric("questions_open", 1);
    let Server { runtime, broker, .. } = server;
    drop(runtime);
    early.assert_closed();
    late.send(&publish("quick", "x", 1, 1));
    late.assert_closed();
    drop(broker);
}

#[test]
fn a_hook_with_a_weak_handle_does_not_keep_the_broker_alive() {
    let own: Arc<OnceLock<WeakBroker>> = Arc::default();
    let handle = Arc::clone(&own);
    let server = Server::start(Broker::builder().on_publish(move |message: Message| {
        let broker = handle.get().and_then(WeakBroker::upgrade);
        async move {
            let page = broker?.admin().clients(Default::default(), 10).await.ok()?;
            (page.items.len() == 1).then_some(message)
        }
    }));
    own.set(server.broker.downgrade()).unwrap();
    let mut client = server.connect("a");
    assert_eq!(client.subscribe("t", 0), 0);
    client.send(&publish("t", "x", 0, 0));
    assert_eq!(client.message().1, "x");
    let Server { runtime, broker, .. } = server;
    drop(broker);
    client.assert_closed();
    drop(runtime);
}
