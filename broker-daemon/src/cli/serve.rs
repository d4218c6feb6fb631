//! `culex` itself: the broker, from its configuration to its end.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::task::JoinHandle;

use culex_core::{Address, Broker, Saved, StartError, StoreError};

use crate::acl::Rules;
use crate::api::{self, Api, Door, Live};
use crate::bridge::{self, Bridges, Prepared};
use crate::cli::banner::{Access, Listening, banner};
use crate::cli::human;
use crate::cli::interrupt::{Interrupt, Order, Orders, outlive_file_size_limit};
use crate::cli::state::State;
use crate::config::{
    Config, ConfigError, Environment, Format as FileFormat, LogFormat, LogLevel, Note, Place, Problem,
    StoreMode,
};
use crate::control::{self, ControlSocket};
use crate::exit::Exit;
use crate::http::{HttpListener, HttpServer, Token};
use crate::integration::Integrations;
use crate::reload::{Reloader, rules};
use crate::service::pid_file::PidFile;
use crate::service::user::Successor;
use crate::service::{dump, manager};
use crate::telemetry;
use crate::tls::{HttpTls, Secured};
use crate::users::{Anonymous, Users};
use crate::webhook::{self, Webhooks};

/// How to serve.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Arguments {
    /// Configuration file, TOML or mosquitto's; without it, 127.0.0.1:1883 and the defaults
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Port of the (only) listener
    #[arg(short, long)]
    port: Option<u16>,
    /// Keep sessions and retained messages in this directory; otherwise in the system's place for such, see the banner
    #[arg(long, value_name = "DIR", conflicts_with = "ephemeral")]
    data_dir: Option<PathBuf>,
    /// Keep nothing: sessions and retained messages end with the broker
    #[arg(long)]
    ephemeral: bool,
    /// Log each decision
    #[arg(short, long)]
    verbose: bool,
    /// Log lines for people or for programs
    #[arg(long, value_name = "FORMAT", value_enum)]
    log_format: Option<Format>,
    /// What mosquitto does with it is explained.
    #[arg(short, long, hide = true)]
    daemon: bool,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Format {
    Text,
    Json,
}

impl Arguments {
    /// Whether `-p`, if it was given, has a port to set.
    fn can_set_port(&self, config: &Config) -> bool {
        self.port.is_none() || matches!(config.listeners.as_slice(), [one] if one.address.ip().is_some())
    }
}

const NOT_ONE_PORT: &str =
    "-p sets the port of one listener, and the configuration has several, or a Unix socket";

/// Time for clients to be told and sockets to be closed.
const SHUTDOWN: Duration = Duration::from_secs(10);

pub(super) fn run(arguments: &Arguments) -> Exit {
    if arguments.daemon {
        human::complain(
            "culex does not go to the background by itself (-d). A service manager does that better; \
             in a shell, `culex &` does",
        );
        return Exit::Usage;
    }
    let (config, notes) = match configure(arguments) {
        Ok(configured) => configured,
        Err(error) => {
            human::complain_all(&error);
            // Whoever starts it as mosquitto expects its exit code.
            return match error.format() {
                FileFormat::Mosquitto => Exit::CannotBind,
                FileFormat::Toml => Exit::Failed,
            };
        }
    };
    if !arguments.can_set_port(&config) {
        human::complain(NOT_ONE_PORT);
        return Exit::Usage;
    }
    telemetry::init(config.log);
    for note in notes {
        tracing::warn!("{note}");
    }
    let users = match config.auth.password_file.as_deref().map(Users::open).transpose() {
        Ok(users) => users,
        Err(error) => {
            human::complain_all(&error);
            return Exit::Failed;
        }
    };
    raise_file_limit(&config);
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            human::complain(format_args!("cannot start: {}", human::io(&error)));
            return Exit::Internal;
        }
    };
    let rules = match rules(&config) {
        Ok(rules) => rules,
        Err(error) => {
            human::complain(error);
            return Exit::Failed;
        }
    };
    let Files { secured, http_tls, bridges, webhooks } = match Files::read(&config) {
        Ok(files) => files,
        Err(error) => {
            human::complain_all(&error);
            return Exit::Tls;
        }
    };
    let live = Arc::new(Live::default());
    live.replace(config.http.as_ref(), rules.clone(), http_tls);
    let successor = match Successor::choose(config.user.as_deref()) {
        Ok(successor) => successor,
        Err(error) => {
            human::complain(error);
            return Exit::Failed;
        }
    };
    // Root's home is not the home of whom it becomes.
    let is_of_person = |name: &str| successor.is_none() || name == "STATE_DIRECTORY";
    let state = State::choose(&config, |name| std::env::var_os(name).filter(|_| is_of_person(name)));
    let again = arguments.clone();
    let anonymous = Anonymous::new(config.listeners.iter().map(|listener| listener.admits_anonymous(true)));
    let users = users.map(|users| (users, anonymous));
    let reloader =
        Reloader::new(config.clone(), secured.clone(), users.clone(), Arc::clone(&live), move || {
            configure_again(&again)
        });
    let reloader = Arc::new(reloader);
    let is_configured = arguments.config.is_some();
    let start = Start {
        config: &config,
        is_configured,
        state: &state,
        rules,
        secured: &secured,
        users,
        successor,
        live,
        bridges,
        webhooks,
    };
    let exit = runtime.block_on(serve(start, reloader));
    runtime.shutdown_background();
    exit
}

/// What certificates and keys are for.
struct Files {
    secured: Secured,
    http_tls: Option<HttpTls>,
    bridges: Prepared,
    webhooks: webhook::Prepared,
}

impl Files {
    fn read(config: &Config) -> Result<Self, ConfigError> {
        Ok(Self {
            secured: Secured::load(config)?,
            http_tls: HttpTls::load(config)?,
            bridges: Prepared::read(config)?,
            webhooks: webhook::Prepared::read(&config.webhooks)?,
        })
    }
}

/// The configuration, with what the command line says on top.
fn configure(arguments: &Arguments) -> Result<(Config, Vec<Note>), ConfigError> {
    let (mut config, notes) =
        Config::load_with_notes(arguments.config.as_deref(), &Environment::of_process())?;
    if let (Some(port), [listener]) = (arguments.port, config.listeners.as_mut_slice()) {
        listener.address.set_port(port);
        // Whoever takes any port wants no other fixed one.
        if let Some(http) = config.http.as_mut().filter(|_| port == 0 && arguments.config.is_none()) {
            http.address.set_port(0);
        }
    }
    if arguments.ephemeral {
        config.store.durability = StoreMode::None;
    } else if let Some(directory) = &arguments.data_dir {
        config.store.directory = Some(directory.clone());
    }
    if arguments.verbose {
        config.log.level = config.log.level.max(LogLevel::Debug);
    }
    match arguments.log_format {
        Some(Format::Text) => config.log.format = LogFormat::Text,
        Some(Format::Json) => config.log.format = LogFormat::Json,
        None => {}
    }
    Ok((config, notes))
}

/// The same at a reload, when a listener may have been added.
fn configure_again(arguments: &Arguments) -> Result<Config, ConfigError> {
    let (config, _) = configure(arguments)?;
    if !arguments.can_set_port(&config) {
        let message = NOT_ONE_PORT.to_owned();
        return Err(ConfigError::alone(Problem { place: Place::CommandLine, message, help: None }));
    }
    Ok(config)
}

/// Each connection is an open file, and the usual soft limit of 1024 is for programs that use `select`.
fn raise_file_limit(config: &Config) {
    let wanted = config.limits.connections.get().min(FILES_ENOUGH);
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(files) if files < wanted => {
            tracing::warn!(
                files,
                "the system allows few open files, and each connection is one (see `ulimit -n`)"
            );
        }
        Ok(files) => tracing::debug!(files, "open files allowed"),
        Err(error) => tracing::debug!(%error, "the limit of open files stays as it is"),
    }
}

/// Fewer open files than this are worth a warning.
const FILES_ENOUGH: u64 = 4096;

/// What the broker is started with.
struct Start<'a> {
    config: &'a Config,
    /// Whether that is what the user wrote, and not what is there without.
    is_configured: bool,
    state: &'a State,
    rules: Option<Arc<Rules>>,
    secured: &'a Secured,
    users: Option<(Users, Anonymous)>,
    successor: Option<Successor>,
    live: Arc<Live>,
    bridges: Prepared,
    webhooks: webhook::Prepared,
}

async fn serve(start: Start<'_>, reloader: Arc<Reloader>) -> Exit {
    let Start {
        config,
        is_configured,
        state,
        rules,
        secured,
        users,
        successor,
        live,
        bridges: prepared,
        webhooks: hooks,
    } = start;
    // Before the banner: who reads it may answer with a signal at once.
    let mut interrupt = Interrupt::catch();
    let mut orders = Orders::catch();
    outlive_file_size_limit();
    let mut builder = Broker::builder()
        .limits(config.limits.clone())
        .threads(config.threads)
        .lanes(config.lanes)
        .accept_later();
    builder =
        builder.system_topics(concat!("culex version ", env!("CARGO_PKG_VERSION")), config.sys_interval);
    for (number, listener) in config.listeners.iter().enumerate() {
        builder = builder.listen(listener.build(secured.of(number)));
    }
    if let Some(rules) = rules {
        builder = builder.access_control(rules);
    }
    // Before root becomes somebody else.
    let http = match listen_http(config, is_configured) {
        Ok(http) => http,
        Err(exit) => return exit,
    };
    let door_users = users.as_ref().map(|(users, _)| users.clone());
    let access = Access::of(config, users.as_ref().map(|(users, _)| users));
    if let Some((users, anonymous)) = users {
        builder = builder.authenticate(anonymous).authenticate(users);
    }
    let pid_file = Arc::new(OnceLock::new());
    builder =
        builder.after_bind(once_bound(config.pid_file.clone(), Arc::clone(&pid_file), successor.clone()));
    let broker = match state.apply(builder).start().await {
        Ok(broker) => broker,
        Err(StartError::AfterBind(error)) => {
            human::complain(error);
            return Exit::Failed;
        }
        Err(StartError::Store(StoreError::Damaged { path, what })) => {
            let directory = path.parent().unwrap_or(&path).display();
            human::complain(format_args!(
                "{}: damaged: {what}. `culex store check {directory}` says all; `culex store repair {directory}` goes on \
                 with what can be read and keeps the damaged files",
                path.display()
            ));
            return Exit::Storage;
        }
        Err(StartError::Store(error)) => {
            let of_successor = successor.as_ref().and_then(|successor| cannot_have(state, successor));
            human::complain(format_args!(
                "{error}. {}Take another directory: `--data-dir DIR`, or none: `--ephemeral`",
                of_successor.unwrap_or_default()
            ));
            return Exit::Storage;
        }
        Err(StartError::Bind { address, source }) => {
            human::complain(cannot_bind(&address, &source));
            return Exit::CannotBind;
        }
        Err(error) => {
            human::complain(error);
            return Exit::Internal;
        }
    };
    let integrations = Integrations::default();
    let bridges =
        bridge::Builder::new(&broker, &integrations).packet_bytes_max(config.limits.packet_bytes).build();
    reloader.set_bridges(bridges.clone());
    bridges.follow(prepared).await;
    let webhooks = Arc::new(Webhooks::new(&broker, &integrations));
    reloader.set_webhooks(Arc::clone(&webhooks));
    webhooks.follow(hooks).await;
    // Each waits 5 s at most; from here on nothing that is published is missed.
    broker.accept();
    let api = Api::new(broker.clone(), Arc::clone(&reloader), live, integrations).bridges(bridges.clone());
    let api = Arc::new(api);
    let _control = control(&api, state).await.map(AbortOnDrop);
    let (_http, page) = match http.and_then(|http| serve_http(http, api, state, door_users)) {
        Some((server, page)) => (Some(server), Some(page)),
        None => (None, None),
    };
    // A closed standard output is no reason not to serve.
    let mut bound = broker.local_addrs().into_iter();
    let listening: Vec<_> = config
        .listeners
        .iter()
        .map(|listener| Listening {
            address: match &listener.address {
                Address::Ip(wanted) => Address::Ip(bound.next().unwrap_or(*wanted)),
                unix @ Address::Unix(_) => unix.clone(),
            },
            has_tls: listener.tls.is_some(),
            needs_certificate: listener.requires_certificate(),
            protocol: listener.protocol,
        })
        .collect();
    let _ = human::print(&banner(&listening, access, &state.to_string(), page.as_deref()));
    let addresses: Vec<_> = listening.iter().map(|listening| listening.address.to_string()).collect();
    manager::ready(&format!("listening on {}", addresses.join(", ")));
    let admin = broker.admin();
    let signs_of_life = async {
        if let Some(period) = manager::watchdog() {
            manager::give_signs_of_life(&admin, period).await;
        }
        std::future::pending().await
    };
    tokio::select! {
        () = obey(&mut orders, &broker, &reloader) => Exit::Internal,
        () = signs_of_life => Exit::Internal,
        failure = broker.failed() => {
            human::complain(format_args!("the broker failed: {failure}"));
            // A service manager that starts it again starts it with what there is.
            if failure.is_store() { Exit::Storage } else { Exit::Internal }
        }
        () = interrupt.wait() => stop(&broker, &bridges, &webhooks, &mut interrupt).await,
    }
}

/// What is done between binding and everything else: the last that root does.
fn once_bound(
    pid_file: Option<PathBuf>,
    written: Arc<OnceLock<PidFile>>,
    successor: Option<Successor>,
) -> impl Fn() -> io::Result<()> + Send + Sync + 'static {
    move || {
        if let Some(path) = &pid_file {
            let _ = written.set(PidFile::write(path)?);
        }
        successor.as_ref().map_or(Ok(()), Successor::take_over)
    }
}

/// What to do about a directory that root's successor cannot have.
fn cannot_have(state: &State, successor: &Successor) -> Option<String> {
    let (directory, name) = (state.directory()?.display(), successor.name());
    Some(format!(
        "The broker runs as {name} (`user`), whose own the directory must be: \
         `mkdir -p {directory} && chown -R {name}: {directory}`. "
    ))
}

/// Does what an operator orders by a signal, for ever.
async fn obey(orders: &mut Orders, broker: &Broker, reloader: &Reloader) {
    let admin = broker.admin();
    loop {
        match orders.next().await {
            Order::Reload => {
                if let Err(error) = reloader.reload(broker).await {
                    tracing::error!("nothing was changed: {error}");
                }
            }
            Order::Save => match admin.save().await {
                Ok(Saved::Kept) => tracing::info!("saved: everything that was acknowledged is on the disk"),
                Ok(Saved::Memory) => {
                    tracing::info!("nothing is saved: sessions and retained messages end with the broker")
                }
                Ok(Saved::Full) => tracing::error!("not saved: the disk is full"),
                Err(error) => tracing::error!("not saved: {error}"),
            },
            Order::Dump => {
                if let Err(error) = dump::subscriptions(&admin).await {
                    tracing::error!("the subscriptions cannot be listed: {error}");
                }
            }
        }
    }
}

/// Answers on the control socket, if there is a directory to have it in. A broker without one serves all the same.
async fn control(api: &Arc<Api>, state: &State) -> Option<JoinHandle<()>> {
    let path = state.directory()?.join(control::FILE);
    match ControlSocket::bind(path.clone()).await {
        Ok(socket) => {
            let router = api::router(Arc::clone(api), Door::Owner);
            Some(tokio::spawn(socket.serve(router)))
        }
        Err(error) => {
            let error = human::io(&error);
            tracing::warn!(path = %path.display(), "no control socket, so `culex ctl` cannot ask this broker: {error}");
            None
        }
    }
}

/// The socket of the HTTP API, if there is to be one. Nobody has asked for the one that is there without a configuration,
/// so it may be missing.
fn listen_http(config: &Config, is_configured: bool) -> Result<Option<HttpListener>, Exit> {
    let Some(settings) = &config.http else { return Ok(None) };
    let address = settings.address;
    match HttpListener::bind(address) {
        Ok(listener) => Ok(Some(listener)),
        Err(error) if is_configured => {
            human::complain(cannot_listen(&address.to_string(), &error, "another address under [http]"));
            Err(Exit::CannotBind)
        }
        Err(error) => {
            let remedy = "another address, with CULEX__HTTP__ADDRESS=127.0.0.1:PORT";
            tracing::warn!(
                "no HTTP API and no page: {}",
                cannot_listen(&address.to_string(), &error, remedy)
            );
            Ok(None)
        }
    }
}

fn cannot_listen(address: &str, error: &io::Error, remedy: &str) -> String {
    format!("cannot listen on {address}: {}. Take {remedy}", human::io(error))
}

/// Answers by HTTP. Gives the link of the page, with the token if nobody has a password to log in with.
fn serve_http(
    listener: HttpListener,
    api: Arc<Api>,
    state: &State,
    users: Option<Users>,
) -> Option<(HttpServer, String)> {
    let token = match (state.directory(), &users) {
        (Some(directory), _) => Token::kept_in(directory),
        (None, None) => Token::new(),
        // Nobody would ever learn it.
        (None, Some(_)) => Err(io::ErrorKind::NotFound.into()),
    };
    let token = match token {
        Ok(token) => Some(token),
        Err(error) => {
            if users.is_none() {
                tracing::warn!("the HTTP API lets nobody in, as there is no token: {}", human::io(&error));
            }
            None
        }
    };
    let scheme = if api.live().tls().is_some() { "https" } else { "http" };
    let mut page = format!("{scheme}://{}/", listener.address());
    if let Some(token) = token.as_ref().filter(|_| users.is_none()) {
        page.push_str(&format!("#token={}", token.reveal()));
    }
    match listener.serve(api, Door::Http { users, token }) {
        Ok(server) => Some((server, page)),
        Err(error) => {
            tracing::warn!("no HTTP API and no page: {}", human::io(&error));
            None
        }
    }
}

/// A task that ends with its owner, so that what it holds is cleaned up.
struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Ends in order; a second signal does not wait for it.
async fn stop(broker: &Broker, bridges: &Bridges, webhooks: &Webhooks, interrupt: &mut Interrupt) -> Exit {
    tracing::info!("stopping");
    manager::stopping();
    let stopping = async {
        // What is on its way is finished while there is a broker to acknowledge it.
        tokio::join!(bridges.stop(), webhooks.stop());
        broker.shutdown(SHUTDOWN).await
    };
    tokio::select! {
        stopped = stopping => match stopped {
            Ok(()) => Exit::Ok,
            Err(error) => {
                human::complain(error);
                Exit::Internal
            }
        },
        () = interrupt.wait() => Exit::Failed,
    }
}

/// Why an address cannot be listened on, and how to mend it.
fn cannot_bind(address: &Address, error: &io::Error) -> String {
    let help = match address {
        Address::Ip(address) => help_of_port(*address, error.kind()),
        Address::Unix(path) => help_of_socket(&path.display().to_string(), error.kind()),
    };
    format!("cannot listen on {address}: {}{help}", human::io(error))
}

fn help_of_socket(path: &str, kind: io::ErrorKind) -> String {
    if kind == io::ErrorKind::AddrInUse {
        ". Another program listens there. Stop it, or take another path".to_owned()
    } else if kind == io::ErrorKind::AlreadyExists {
        format!(". What is there is no socket, so it was left alone; is {path} the path that was meant?")
    } else if kind == io::ErrorKind::NotFound {
        ". Its folder must be there before".to_owned()
    } else {
        String::new()
    }
}

fn help_of_port(address: SocketAddr, kind: io::ErrorKind) -> String {
    if kind == io::ErrorKind::AddrInUse {
        let port = address.port().checked_add(1).unwrap_or(crate::config::PORT);
        format!(
            ". Another program, perhaps a broker, has that port. Stop it, or take another port: `culex -p {port}`"
        )
    } else if kind == io::ErrorKind::PermissionDenied {
        format!(". Ports below 1024 need privileges. Take another port: `culex -p {}`", crate::config::PORT)
    } else if kind == io::ErrorKind::AddrNotAvailable {
        let all = if address.is_ipv4() { "0.0.0.0" } else { "[::]" };
        format!(". This computer has no such address; {all} means all that it has")
    } else {
        String::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_cannot_be_had_is_explained() {
        let address = Address::Ip("127.0.0.1:1883".parse().unwrap());
        for (kind, expected) in [
            (io::ErrorKind::AddrInUse, "`culex -p 1884`"),
            (io::ErrorKind::PermissionDenied, "need privileges"),
            (io::ErrorKind::AddrNotAvailable, "0.0.0.0"),
        ] {
            let message = cannot_bind(&address, &io::Error::from(kind));
            assert!(message.starts_with("cannot listen on 127.0.0.1:1883: "), "{message}");
            assert!(message.contains(expected), "{message}");
        }
    }
}
