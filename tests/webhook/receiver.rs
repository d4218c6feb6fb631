//! A receiver that does what a test wants, and remembers what it got.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use serde_json::Value;

use crate::program::PATIENCE;

/// A request that it got.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) head: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn id(&self) -> &str {
        &self.head["webhook-id"]
    }
}

/// What it answers: bytes of an HTTP response, for this request.
type Answer = Box<dyn Fn(&Request, &mut TcpStream) + Send + Sync>;

/// Listens until it is dropped.
pub(crate) struct Receiver {
    pub(crate) addr: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    requests: Mutex<Vec<Request>>,
    arrived: Condvar,
    answer: Mutex<Arc<Answer>>,
    is_over: Mutex<bool>,
}

impl Receiver {
    pub(crate) fn new(answer: impl Fn(&Request, &mut TcpStream) + Send + Sync + 'static) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap(), answer)
    }

    /// The same, at an address where nobody listened.
    pub(crate) fn at(addr: SocketAddr) -> Self {
        Self::on(TcpListener::bind(addr).unwrap(), |_, stream| say(stream, 200, "", "ok"))
    }

    fn on(listener: TcpListener, answer: impl Fn(&Request, &mut TcpStream) + Send + Sync + 'static) -> Self {
        let addr = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            requests: Mutex::default(),
            arrived: Condvar::new(),
            answer: Mutex::new(Arc::new(Box::new(answer))),
            is_over: Mutex::new(false),
        });
        let serving = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if *serving.is_over.lock().unwrap_or_else(PoisonError::into_inner) {
                    return;
                }
                let shared = Arc::clone(&serving);
                thread::spawn(move || shared.serve(stream.unwrap()));
            }
        });
        Self { addr, shared }
    }

    /// That answers 200.
    pub(crate) fn good() -> Self {
        Self::new(|_, stream| say(stream, 200, "", "ok"))
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/webhook", self.addr)
    }

    /// What it answers from now on.
    pub(crate) fn answer(&self, answer: impl Fn(&Request, &mut TcpStream) + Send + Sync + 'static) {
        *self.shared.answer.lock().unwrap() = Arc::new(Box::new(answer));
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// Waits until it has got what is wanted.
    pub(crate) fn wait(&self, what: &str, mut is_so: impl FnMut(&[Request]) -> bool) -> Vec<Request> {
        let began = Instant::now();
        let mut requests = self.shared.requests.lock().unwrap();
        while !is_so(&requests) {
            let left = PATIENCE.saturating_sub(began.elapsed());
            assert!(!left.is_zero(), "not within {PATIENCE:?}: {what}; it got {}", requests.len());
            requests = self.shared.arrived.wait_timeout(requests, left).unwrap().0;
        }
        requests.clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        *self.shared.is_over.lock().unwrap_or_else(PoisonError::into_inner) = true;
        // It listens once more, and finds that.
        let _ = TcpStream::connect(self.addr);
    }
}

impl Shared {
    fn serve(&self, stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut stream = stream;
        while let Some(request) = read(&mut reader) {
            self.requests.lock().unwrap().push(request.clone());
            self.arrived.notify_all();
            let answer = Arc::clone(&*self.answer.lock().unwrap());
            answer(&request, &mut stream);
        }
    }
}

fn read(reader: &mut impl BufRead) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let mut head = BTreeMap::from([("".to_owned(), line.trim_end().to_owned())]);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(": ").unwrap();
        assert!(head.insert(name.to_ascii_lowercase(), value.to_owned()).is_none(), "twice: {name}");
    }
    let len = head.get("content-length").map_or(0, |len| len.parse().unwrap());
    let mut body = vec![0; len];
    reader.read_exact(&mut body).ok()?;
    Some(Request { head, body })
}

/// Writes a response; whoever has gone reads it not.
pub(crate) fn say(stream: &mut TcpStream, status: u16, head: &str, body: &str) {
    let len = body.len();
    let _ = stream
        .write_all(format!("HTTP/1.1 {status} X\r\n{head}content-length: {len}\r\n\r\n{body}").as_bytes());
}
