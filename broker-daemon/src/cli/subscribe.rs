//! `culex sub`: prints the messages of its subscriptions.

use std::future::Future;
use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use culex_codec::{QoS, TopicFilter, TopicName};
use culex_core::client::{ClientError, Connection, Event, Message, Session};
use tokio::time::sleep;

use crate::cli::human;
use crate::cli::interrupt::Interrupt;
use crate::cli::output::{Format, Layout, NotJson, print};
use crate::cli::remote::{Remote, Way, topic_filter};
use crate::exit::Exit;

/// What to subscribe to, and how to print it.
#[derive(Debug, clap::Args)]
#[command(
    disable_help_flag = true,
    override_usage = "culex sub -t TOPIC [OPTIONS]",
    after_help = "Examples:\n  \
        culex sub -t 'home/#' -v                       all below home, with topics\n  \
        culex sub -t home/lamp -C 1 -W 5               one message, within 5 seconds\n  \
        culex sub -t '#' -F '%I %t %p'                 time, topic, payload\n  \
        culex sub -t 'home/+' -F %j                    one JSON object a message\n\n\
        Format: %t topic, %p payload, %x %X payload in hex, %l its length, %q QoS,\n  \
        %r retained, %m message id, %j message as JSON, %J the same with JSON payload,\n  \
        %I time (UTC), %U seconds since 1970, @H @M @S and so on, %% and @@ themselves\n\n\
        Exit code 27 if -W ended it."
)]
pub(super) struct Arguments {
    /// Topic to subscribe to, with + and # as wildcards; may be given more than once
    #[arg(short, long, required = true, value_parser = topic_filter)]
    topic: Vec<String>,
    /// Print the topic before the payload
    #[arg(short, long, conflicts_with = "format")]
    verbose: bool,
    /// Print in this format
    #[arg(short = 'F', long, allow_hyphen_values = true)]
    format: Option<Format>,
    /// Exit after so many messages
    #[arg(short = 'C', value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Exit after so many seconds
    #[arg(short = 'W', value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    wait: Option<u64>,
    /// Print no line end after a message
    #[arg(short = 'N')]
    no_line_end: bool,
    /// Do not print retained messages
    #[arg(short = 'R')]
    no_retained: bool,
    /// Print only retained messages, and exit at the first other one
    #[arg(long, conflicts_with = "no_retained")]
    retained_only: bool,
    /// Do not print messages of this topic, with wildcards; may be given more than once
    #[arg(short = 'T', long, value_name = "TOPIC", value_parser = topic_filter)]
    filter_out: Vec<String>,
    /// Unsubscribe from this topic first; may be given more than once
    #[arg(short = 'U', long, value_name = "TOPIC", value_parser = topic_filter)]
    unsubscribe: Vec<String>,
    /// Exit once the broker has answered the subscription
    #[arg(short = 'E')]
    exit_after_subscribe: bool,
    #[command(flatten)]
    remote: Remote,
}

/// Time between two attempts to connect again, as in mosquitto_sub.
const RECONNECT_AFTER: Duration = Duration::from_secs(1);

pub(super) fn run(arguments: Arguments) -> Exit {
    let layout = match (&arguments.format, arguments.verbose) {
        (Some(format), _) => Layout::Format(format.clone()),
        (None, true) => Layout::Verbose,
        (None, false) => Layout::Payload,
    };
    let remote = &arguments.remote;
    remote
        .run(async { Subscriber { arguments: &arguments, layout, out: Vec::new(), printed: 0 }.run().await })
}

/// Why a connection ended that nothing was wrong with.
enum End {
    /// It printed what was asked for, or the reader of standard output went away.
    Done,
    /// The user or a signal said so.
    Interrupted,
    /// `-W`.
    TimedOut,
    /// Every subscription was refused.
    Denied,
    /// Standard output cannot be written.
    Output(io::Error),
}

struct Subscriber<'a> {
    arguments: &'a Arguments,
    layout: Layout,
    /// Printed and not yet written.
    out: Vec<u8>,
    printed: u64,
}

impl Subscriber<'_> {
    async fn run(mut self) -> Exit {
        let remote = &self.arguments.remote;
        let seconds = self.arguments.wait;
        let mut interrupt = Interrupt::catch();
        let timeout = async {
            match seconds {
                Some(seconds) => sleep(Duration::from_secs(seconds)).await,
                None => std::future::pending().await,
            }
        };
        let mut stop = std::pin::pin!(async {
            tokio::select! {
                () = timeout => End::TimedOut,
                () = interrupt.wait() => End::Interrupted,
            }
        });
        let way = match remote.way() {
            Ok(way) => way,
            Err(exit) => return exit,
        };
        let end = match self.serve(&way, &mut stop).await {
            Ok(end) => end,
            Err(error) => return remote.report(&error),
        };
        match end {
            End::Done | End::Interrupted => Exit::Ok,
            End::TimedOut => {
                remote.complain(format_args!("timed out after {} s", seconds.unwrap_or_default()));
                Exit::TimedOut
            }
            End::Denied => {
                remote.complain("the broker refused the subscription");
                Exit::Failed
            }
            End::Output(error) => {
                remote.complain(format_args!("cannot write to standard output: {}", human::io(&error)));
                Exit::Failed
            }
        }
    }

    /// Connects, and connects again when the connection is lost. The first attempt must succeed: a wrong host name
    /// should not be tried for ever.
    async fn serve(
        &mut self,
        way: &Way,
        stop: &mut (impl Future<Output = End> + Unpin),
    ) -> Result<End, ClientError> {
        let options = self.arguments.remote.options();
        let mut session = Session::default();
        let mut connection = tokio::select! {
            connection = way.connect(&options, &mut session) => connection?,
            end = &mut *stop => return Ok(end),
        };
        loop {
            let error = match self.listen(&mut connection, stop).await {
                Ok(end) => {
                    // The Server will see the end of the connection in any case.
                    let _ = connection.disconnect().await;
                    return Ok(end);
                }
                Err(error) => error,
            };
            self.flush_quietly();
            if !self.arguments.remote.quiet {
                human::note(format_args!("{error}; connecting again"));
            }
            session = connection.into_session();
            connection = loop {
                let again = async {
                    sleep(RECONNECT_AFTER).await;
                    way.connect(&options, &mut session).await
                };
                tokio::select! {
                    opened = again => match opened {
                        Ok(connection) => break connection,
                        Err(error @ ClientError::Refused { .. }) => return Err(error),
                        Err(_) => {}
                    },
                    end = &mut *stop => return Ok(end),
                }
            };
        }
    }

    /// Subscribes and prints until something ends it.
    async fn listen(
        &mut self,
        connection: &mut Connection,
        stop: &mut (impl Future<Output = End> + Unpin),
    ) -> Result<End, ClientError> {
        self.subscribe(connection)?;
        loop {
            let next = async {
                tokio::select! {
                    biased;
                    event = connection.event() => event.map(Some),
                    // Nothing is there at the moment: time to write what was printed.
                    () = std::future::ready(()), if !self.out.is_empty() => Ok(None),
                }
            };
            let event = tokio::select! {
                event = next => event?,
                end = &mut *stop => {
                    self.flush_quietly();
                    return Ok(end);
                }
            };
            let ended = match event {
                None => self.flush(),
                Some(Event::Message(message)) => self.on_message(&message),
                Some(Event::Subscribed { codes, .. }) => self.on_subscribed(&codes),
                Some(Event::Unsubscribed { .. } | Event::Published { .. } | Event::Written) => None,
            };
            if let Some(end) = ended {
                return Ok(end);
            }
        }
    }

    fn subscribe(&self, connection: &mut Connection) -> Result<(), ClientError> {
        let qos = self.arguments.remote.qos;
        let wanted: Vec<(TopicFilter<'_>, QoS)> =
            filters(&self.arguments.topic).map(|filter| (filter, qos)).collect();
        if !self.arguments.unsubscribe.is_empty() {
            let unsubscribe: Vec<_> = filters(&self.arguments.unsubscribe).collect();
            connection.unsubscribe(&unsubscribe)?;
        }
        connection.subscribe(&wanted)?;
        Ok(())
    }

    fn on_subscribed(&mut self, codes: &[u8]) -> Option<End> {
        if codes.iter().all(|code| *code >= 0x80) {
            return Some(End::Denied);
        }
        for (topic, _) in self.arguments.topic.iter().zip(codes).filter(|(_, code)| **code >= 0x80) {
            self.arguments.remote.complain(format_args!("the broker refused the subscription to {topic}"));
        }
        self.arguments.exit_after_subscribe.then_some(End::Done)
    }

    fn on_message(&mut self, message: &Message) -> Option<End> {
        let arguments = self.arguments;
        if arguments.retained_only && !message.is_retained {
            return Some(self.flush().unwrap_or(End::Done));
        }
        if arguments.no_retained && message.is_retained {
            return None;
        }
        if let Ok(name) = TopicName::new(&message.topic)
            && filters(&arguments.filter_out).any(|filter| filter.matches(name))
        {
            return None;
        }
        let ends_line = !arguments.no_line_end;
        if let Err(NotJson) = print(&self.layout, message, SystemTime::now(), ends_line, &mut self.out) {
            arguments.remote.complain(format_args!("the payload is not JSON on topic {}", message.topic));
        }
        self.printed += 1;
        if arguments.count == Some(self.printed) {
            return Some(self.flush().unwrap_or(End::Done));
        }
        if self.out.len() >= OUT_BYTES { self.flush() } else { None }
    }

    /// Writes what was printed; a reader that went away (`| head`) is a quiet end.
    fn flush(&mut self) -> Option<End> {
        let mut stdout = io::stdout().lock();
        let written = stdout.write_all(&self.out).and_then(|()| stdout.flush());
        self.out.clear();
        match written {
            Ok(()) => None,
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Some(End::Done),
            Err(error) => Some(End::Output(error)),
        }
    }

    /// At an end that has its own reason.
    fn flush_quietly(&mut self) {
        let _ = self.flush();
    }
}

/// What is printed is written at the latest when it is so much.
const OUT_BYTES: usize = 64 << 10;

/// Filters that the command line has checked.
fn filters(texts: &[String]) -> impl Iterator<Item = TopicFilter<'_>> {
    texts.iter().filter_map(|text| TopicFilter::new(text).ok())
}
