//! A client that runs beside the case, as a process or as a thread, and reports events.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use crate::event::{Event, Message};
use crate::rumqtt;

/// How long an expected event may take before the case fails: a bound of failure, not a wait.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Actor {
    name: String,
    events: Receiver<Event>,
    /// What came while another event was waited for.
    messages: Vec<Message>,
    /// The rest, for the report of a failure.
    said: Vec<String>,
    body: Body,
}

enum Body {
    Process(Child),
    Thread(rumqtt::Handle),
}

/// What an actor that came to its end had reported.
pub(crate) struct Outcome {
    pub(crate) messages: Vec<Message>,
    pub(crate) published: Option<usize>,
    /// Lines of a program of its own kind.
    pub(crate) said: Vec<String>,
    /// `None`: not a process.
    pub(crate) status: Option<ExitStatus>,
}

impl Actor {
    pub(crate) fn spawn(name: String, command: &mut Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.env("PYTHONUTF8", "1").env("PYTHONDONTWRITEBYTECODE", "1");
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{name}: {command:?}: {error}"));
        let (sender, events) = mpsc::channel();
        if let Some(pipe) = child.stdout.take() {
            forward(pipe, sender.clone());
        }
        if let Some(pipe) = child.stderr.take() {
            forward(pipe, sender);
        }
        Self { name, events, messages: Vec::new(), said: Vec::new(), body: Body::Process(child) }
    }

    pub(crate) const fn thread(name: String, events: Receiver<Event>, handle: rumqtt::Handle) -> Self {
        Self { name, events, messages: Vec::new(), said: Vec::new(), body: Body::Thread(handle) }
    }

    /// Waits for CONNACK; whether the session was present, where the client tells.
    pub(crate) fn connected(&mut self) -> Option<bool> {
        let event = self.wait_for("CONNECTED", |event| matches!(event, Event::Connected { .. }));
        if let Event::Connected { session_present } = event { session_present } else { None }
    }

    /// Waits for SUBACK.
    pub(crate) fn subscribed(&mut self) {
        self.wait_for("SUBSCRIBED", |event| *event == Event::Subscribed);
    }

    /// Waits for PINGRESP.
    pub(crate) fn ping_answered(&mut self) {
        self.wait_for("PINGRESP", |event| *event == Event::PingResp);
    }

    /// Waits for a message.
    pub(crate) fn message(&mut self) -> Message {
        let event = self.wait_for("MESSAGE", |event| matches!(event, Event::Message(_)));
        let Event::Message(message) = event else { self.fail(&format!("{event:?}")) };
        message
    }

    fn wait_for(&mut self, what: &str, is_it: impl Fn(&Event) -> bool) -> Event {
        loop {
            match self.events.recv_timeout(PATIENCE) {
                Ok(event) if is_it(&event) => return event,
                Ok(event) => self.note(event, &mut None),
                Err(end) => self.fail(&format!("no {what}: {end}")),
            }
        }
    }

    fn note(&mut self, event: Event, published: &mut Option<usize>) {
        match event {
            Event::Message(message) => self.messages.push(message),
            Event::Published { count } => *published = Some(count),
            Event::Said(line) => self.said.push(line),
            Event::Connected { .. } | Event::Subscribed | Event::PingResp => {}
        }
    }

    /// Waits until it ends by itself, and demands that it ended well.
    pub(crate) fn finish(self) -> Outcome {
        let name = self.name.clone();
        let outcome = self.run_to_end();
        if outcome.status.is_some_and(|status| !status.success()) {
            panic!("{name} ended with {:?}; it said:\n{}", outcome.status, outcome.said.join("\n"));
        }
        outcome
    }

    /// Waits until it ends by itself, well or not.
    pub(crate) fn run_to_end(mut self) -> Outcome {
        let mut published = None;
        loop {
            match self.events.recv_timeout(PATIENCE) {
                Ok(event) => self.note(event, &mut published),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    self.fail(&format!("did not end; {} messages", self.messages.len()));
                }
            }
        }
        let status = match &mut self.body {
            Body::Process(child) => child.wait().ok(),
            Body::Thread(_) => None,
        };
        let messages = std::mem::take(&mut self.messages);
        Outcome { messages, published, said: std::mem::take(&mut self.said), status }
    }

    /// Gives it these lines as its standard input, and waits until it ends well.
    pub(crate) fn finish_with_input(mut self, lines: &[String]) -> Outcome {
        if let Body::Process(child) = &mut self.body
            && let Some(mut input) = child.stdin.take()
        {
            let text: String = lines.iter().flat_map(|line| [line, "\n"]).collect();
            // A thread, because the program may fill its output before it has read all of its input. A program that ends
            // early shows in its status.
            thread::spawn(move || input.write_all(text.as_bytes()));
        }
        self.finish()
    }

    /// Tells it to leave with DISCONNECT, and waits until it has.
    pub(crate) fn leave(mut self) -> Outcome {
        match &mut self.body {
            Body::Process(child) => {
                drop(child.stdin.take());
                if self.name.starts_with("Mosquitto") {
                    // The one that does not look at its standard input leaves politely at SIGTERM.
                    let _ = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
                }
            }
            Body::Thread(handle) => handle.disconnect(),
        }
        self.run_to_end()
    }

    /// Ends it without DISCONNECT, as a crash or a power cut would.
    pub(crate) fn kill(mut self) {
        match &mut self.body {
            Body::Process(child) => {
                let _ = child.kill();
            }
            Body::Thread(handle) => handle.drop_connection(),
        }
        self.run_to_end();
    }

    fn fail(&self, what: &str) -> ! {
        panic!("{}: {what}; it said:\n{}", self.name, self.said.join("\n"))
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        match &mut self.body {
            Body::Process(child) => {
                let _ = child.kill();
                let _ = child.wait();
            }
            Body::Thread(handle) => handle.drop_connection(),
        }
    }
}

fn forward(pipe: impl Read + Send + 'static, events: Sender<Event>) {
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if events.send(Event::parse(&line)).is_err() {
                return;
            }
        }
    });
}
