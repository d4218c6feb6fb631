//! The HTTP API: publishing beside MQTT, and streams.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use culex_benches::Result;
use culex_benches::broker::Running;
use culex_benches::client::{Client, Unreleased};
use culex_tests::wire::Publish;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::SendRequest;
use hyper::{Request, Response, header};
use hyper_util::rt::TokioIo;
use tokio::task::JoinSet;

use crate::table::Table;
use crate::{Bench, Cost, free_port};

const PATIENCE: Duration = Duration::from_secs(30);
const TURN: Duration = Duration::from_millis(10);
const PAYLOAD: &str =
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";

/// The HTTP API of a broker, for who has its token.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    address: SocketAddr,
    authorization: String,
}

impl Api {
    /// Waits until it is there.
    pub(crate) fn of(broker: &Running, port: u16) -> Result<Self> {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let began = Instant::now();
        loop {
            let token = std::fs::read_to_string(broker.data().join("http.token")).unwrap_or_default();
            if !token.is_empty() && TcpStream::connect(address).is_ok() {
                return Ok(Self { address, authorization: format!("Bearer {}", token.trim()) });
            }
            if began.elapsed() > PATIENCE {
                return Err("the broker has no HTTP API".into());
            }
            std::thread::sleep(TURN);
        }
    }

    /// The sum of the series of a metric with these labels; 0 if there is none.
    pub(crate) fn sum(&self, metric: &str, labels: &str) -> Result<f64> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let head = format!(
            "GET /metrics HTTP/1.1\r\nHost: {}\r\nAuthorization: {}\r\nConnection: close\r\n\r\n",
            self.address, self.authorization
        );
        stream.write_all(head.as_bytes())?;
        let mut page = String::new();
        stream.read_to_string(&mut page)?;
        if !page.starts_with("HTTP/1.1 200") {
            return Err(format!("/metrics: {}", page.lines().next().unwrap_or_default()).into());
        }
        let values = page
            .lines()
            .filter(|line| line.strip_prefix(metric).is_some_and(|rest| rest.starts_with(['{', ' '])))
            .filter(|line| line.contains(labels))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        Ok(values.sum())
    }

    /// Waits until the sum of the series of a metric is so much.
    pub(crate) fn await_sum(&self, metric: &str, wanted: f64) -> Result<()> {
        let began = Instant::now();
        while self.sum(metric, "")? < wanted {
            if began.elapsed() > PATIENCE {
                return Err(format!("{metric} does not reach {wanted}").into());
            }
            std::thread::sleep(TURN);
        }
        Ok(())
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>> {
        let stream = tokio::net::TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }

    /// A request, and the head of its answer.
    async fn ask(
        &self,
        sender: &mut SendRequest<Full<Bytes>>,
        method: &str,
        path: &str,
        body: Bytes,
    ) -> Result<Response<Incoming>> {
        sender.ready().await?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, self.address.to_string())
            .header(header::AUTHORIZATION, &self.authorization)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))?;
        let response = sender.send_request(request).await?;
        if response.status().is_success() {
            Ok(response)
        } else {
            Err(format!("{path}: {}", response.status()).into())
        }
    }
}

/// Who publishes, and how many messages before it waits for the answer.
#[derive(Debug, Clone, Copy)]
struct Publishers {
    is_http: bool,
    connections: u64,
    together: usize,
}

/// QoS 1 to topics that nobody subscribes to: each connection waits for its answer, then goes on.
pub(crate) fn publish(bench: &Bench) -> Result<Table> {
    let mut table = Table::new(
        &["messages at a time", "by", "messages/s", "p50 µs", "p99 µs", "broker CPU µs each", "foreign"],
        None,
    );
    let rows: Vec<_> = [(1, 1), (8, 1), (1, 100), (8, 100)]
        .into_iter()
        .flat_map(|(connections, together)| {
            [false, true].map(|is_http| Publishers { is_http, connections, together })
        })
        .collect();
    let names = |row: &Publishers| {
        let by = if row.is_http { "HTTP" } else { "MQTT" };
        [format!("{} × {}", row.connections, row.together), by.to_owned()]
    };
    bench.interleave(&mut table, &rows, names, |row| measure_publish(bench, *row))?;
    Ok(table)
}

fn measure_publish(bench: &Bench, row: Publishers) -> Result<Vec<f64>> {
    let port = free_port()?;
    let broker = bench.broker(&format!("[http]\naddress = \"127.0.0.1:{port}\"\n"))?;
    let api = Api::of(&broker, port)?;
    let (times, cost) = Cost::of(&[broker.pid()], || {
        if row.is_http { by_http(bench, &api, row) } else { by_mqtt(bench, broker.address, row) }
    })?;
    broker.kill()?;
    let mut times_us: Vec<f64> = times.iter().map(|time| time.as_secs_f64() * 1e6).collect();
    times_us.sort_by(f64::total_cmp);
    let at = |share: f64| times_us.get((times_us.len() as f64 * share) as usize).copied().unwrap_or(f64::NAN);
    let messages = (times.len() * row.together) as f64;
    Ok(vec![
        messages / cost.seconds,
        at(0.5),
        at(0.99),
        cost.broker_cpu_s * 1e6 / messages,
        cost.foreign_cores,
    ])
}

/// How long each answer took.
fn by_mqtt(bench: &Bench, address: SocketAddr, row: Publishers) -> Result<Vec<Duration>> {
    let end = Instant::now() + bench.duration();
    let threads = (0..row.connections).map(|number| {
        std::thread::spawn(move || -> Result<Vec<Duration>> {
            let (mut client, _) =
                Client::connect(address, &format!("p{number}"), true, Unreleased::default())?;
            let message = Publish::new(&format!("publish/{number}"), PAYLOAD).qos(1, 0);
            let mut times = Vec::new();
            while Instant::now() < end {
                let began = Instant::now();
                client.publish_all(vec![message.clone(); row.together])?;
                times.push(began.elapsed());
            }
            Ok(times)
        })
    });
    let threads: Vec<_> = threads.collect();
    let mut all = Vec::new();
    for thread in threads {
        all.extend(thread.join().map_err(|_| "a publisher has panicked")??);
    }
    Ok(all)
}

fn by_http(bench: &Bench, api: &Api, row: Publishers) -> Result<Vec<Duration>> {
    let end = Instant::now() + bench.duration();
    bench.runtime.block_on(async {
        let mut publishers = JoinSet::new();
        for number in 0..row.connections {
            publishers.spawn(publish_by_http(api.clone(), number, row.together, end));
        }
        let mut all = Vec::new();
        while let Some(times) = publishers.join_next().await {
            all.extend(times??);
        }
        Ok(all)
    })
}

async fn publish_by_http(api: Api, number: u64, together: usize, end: Instant) -> Result<Vec<Duration>> {
    let mut sender = api.connect().await?;
    let message = format!("{{\"topic\":\"publish/{number}\",\"payload\":\"{PAYLOAD}\",\"qos\":1}}");
    let (path, body) = if together == 1 {
        ("/api/v1/publish", message)
    } else {
        ("/api/v1/publish/batch", format!("{{\"messages\":[{}]}}", vec![message; together].join(",")))
    };
    let body = Bytes::from(body);
    let mut times = Vec::new();
    while Instant::now() < end {
        let began = Instant::now();
        api.ask(&mut sender, "POST", path, body.clone()).await?.into_body().collect().await?;
        times.push(began.elapsed());
    }
    Ok(times)
}

const VIEWERS: u64 = 100;

/// What all viewers have got.
#[derive(Debug, Default)]
struct Seen {
    open: AtomicU64,
    messages: AtomicU64,
    dropped: AtomicU64,
}

/// 100 streams of the same topic, at a given rate of messages.
pub(crate) fn stream(bench: &Bench) -> Result<Table> {
    let mut table = Table::new(
        &[
            "viewers",
            "published/s",
            "events/s",
            "lost, told",
            "lost, not told",
            "broker CPU µs each",
            "broker cores",
            "foreign",
        ],
        None,
    );
    let names = |rate: &u32| [VIEWERS.to_string(), rate.to_string()];
    bench.interleave(&mut table, &[100, 1000, 5000], names, |rate| measure_stream(bench, *rate))?;
    Ok(table)
}

fn measure_stream(bench: &Bench, rate: u32) -> Result<Vec<f64>> {
    let port = free_port()?;
    let broker =
        bench.broker(&format!("[http]\naddress = \"127.0.0.1:{port}\"\nmax_streams = {VIEWERS}\n"))?;
    let api = Api::of(&broker, port)?;
    let seen = Arc::new(Seen::default());
    // They end with the broker.
    let viewers: Vec<_> =
        (0..VIEWERS).map(|_| bench.runtime.spawn(view(api.clone(), Arc::clone(&seen)))).collect();
    let began = Instant::now();
    while seen.open.load(Ordering::Relaxed) < VIEWERS {
        if began.elapsed() > PATIENCE {
            return Err("not all streams have opened".into());
        }
        std::thread::sleep(TURN);
    }
    let (mut client, _) = Client::connect(broker.address, "source", true, Unreleased::default())?;
    let (sent, cost) = Cost::of(&[broker.pid()], || {
        let (began, mut sent) = (Instant::now(), 0);
        while began.elapsed() < bench.duration() {
            let due = (began.elapsed().as_secs_f64() * f64::from(rate)) as u64;
            let messages = (sent..due).map(|_| Publish::new("stream/a", PAYLOAD));
            client.publish_all(messages.collect())?;
            sent = due;
            std::thread::sleep(TURN);
        }
        seen.settle(sent * VIEWERS);
        Ok(sent)
    })?;
    broker.kill()?;
    for viewer in viewers {
        // The broker has ended without a word: so has the body.
        let _ = bench.runtime.block_on(viewer)?;
    }
    let (messages, dropped) = (seen.messages.load(Ordering::Relaxed), seen.dropped.load(Ordering::Relaxed));
    let lost = (sent * VIEWERS).saturating_sub(messages + dropped);
    Ok(vec![
        messages as f64 / cost.seconds,
        dropped as f64,
        lost as f64,
        cost.broker_cpu_s * 1e6 / messages as f64,
        cost.broker_cpu_s / cost.seconds,
        cost.foreign_cores,
    ])
}

impl Seen {
    /// Waits until so many have come or were dropped, or nothing comes any more.
    fn settle(&self, expected: u64) {
        let (mut last, mut since) = (0, Instant::now());
        loop {
            let now = self.messages.load(Ordering::Relaxed) + self.dropped.load(Ordering::Relaxed);
            if now >= expected || since.elapsed() > Duration::from_secs(1) {
                return;
            }
            if now > last {
                (last, since) = (now, Instant::now());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn line(&self, line: &[u8], is_about_dropped: &mut bool) {
        if line == b": open" {
            self.open.fetch_add(1, Ordering::Relaxed);
        } else if line == b"event: message" {
            self.messages.fetch_add(1, Ordering::Relaxed);
        } else if line.starts_with(b"event:") {
            *is_about_dropped = line == b"event: dropped";
        } else if *is_about_dropped && line.starts_with(b"data:") {
            let digits = line.iter().filter(|byte| byte.is_ascii_digit());
            let count = digits.fold(0, |count: u64, digit| count * 10 + u64::from(digit - b'0'));
            self.dropped.fetch_add(count, Ordering::Relaxed);
            *is_about_dropped = false;
        }
    }
}

async fn view(api: Api, seen: Arc<Seen>) -> Result<()> {
    let mut sender = api.connect().await?;
    let path = "/api/v1/stream?filter=stream/%23";
    let mut body = api.ask(&mut sender, "GET", path, Bytes::new()).await?.into_body();
    let (mut rest, mut is_about_dropped) = (Vec::new(), false);
    while let Some(frame) = body.frame().await {
        rest.extend_from_slice(frame?.data_ref().map(Bytes::as_ref).unwrap_or_default());
        let mut lines: Vec<&[u8]> = rest.split(|byte| *byte == b'\n').collect();
        let unfinished = lines.pop().unwrap_or_default().to_vec();
        for line in lines {
            seen.line(line, &mut is_about_dropped);
        }
        rest = unfinished;
    }
    Ok(())
}
