//! `culex` itself: the broker, from its configuration to its end.

mod arguments;
mod doors;
mod failure;

use std::io;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use culex_core::{Address, Broker, Saved};
use tokio::time::timeout;

use crate::acl::Rules;
use crate::api::{Api, Live};
use crate::bridge::{self, Bridges, Prepared};
use crate::cli::banner::{Access, Listening, banner};
use crate::cli::human;
use crate::cli::interrupt::{Interrupt, Order, Orders, outlive_file_size_limit};
use crate::cli::state::State;
use crate::config::{Config, ConfigError, Format as FileFormat, Listener};
use crate::exit::Exit;
use crate::integration::Integrations;
use crate::reload::{Reloader, rules};
use crate::service::pid_file::PidFile;
use crate::service::user::Successor;
use crate::service::{dump, manager};
use crate::telemetry;
use crate::tls::{HttpTls, Secured};
use crate::users::{Anonymous, Users};
use crate::webhook::{self, Webhooks};

pub(super) use arguments::Arguments;
use arguments::NOT_ONE_PORT;

/// Clients wait so long for bridges and webhooks, which miss nothing that is published after they have subscribed.
const ACCEPT_AT_LATEST: Duration = Duration::from_secs(5);
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
    let (config, notes) = match arguments.configure() {
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
            again.configure_again()
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
    let http = match doors::listen(config, is_configured) {
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
        Err(error) => return failure::explain(error, state, successor.as_ref()),
    };
    let integrations = Integrations::default();
    let bridges =
        bridge::Builder::new(&broker, &integrations).packet_bytes_max(config.limits.packet_bytes).build();
    reloader.set_bridges(bridges.clone());
    let webhooks = Arc::new(Webhooks::new(&broker, &integrations));
    reloader.set_webhooks(Arc::clone(&webhooks));
    let mut subscribed = pin!(async {
        // They are told how bridges are, from the first attempt on.
        webhooks.follow(hooks).await;
        bridges.follow(prepared).await;
    });
    let in_time = timeout(ACCEPT_AT_LATEST, subscribed.as_mut()).await;
    broker.accept();
    if in_time.is_err() {
        subscribed.await;
    }
    let api = Api::new(broker.clone(), Arc::clone(&reloader), live, integrations).bridges(bridges.clone());
    let api = Arc::new(api);
    let _control = doors::control(&api, state).await;
    let (_http, page) = match http.and_then(|http| doors::serve(http, api, state, door_users)) {
        Some((server, page)) => (Some(server), Some(page)),
        None => (None, None),
    };
    let listening = listening(config, &broker);
    // A closed standard output is no reason not to serve.
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

/// Where clients can connect, in the order of the configuration.
fn listening(config: &Config, broker: &Broker) -> Vec<Listening> {
    let mut bound = broker.local_addrs().into_iter();
    let listeners = config.listeners.iter();
    let of = |listener: &Listener| Listening {
        address: match &listener.address {
            Address::Ip(wanted) => Address::Ip(bound.next().unwrap_or(*wanted)),
            unix @ Address::Unix(_) => unix.clone(),
        },
        has_tls: listener.tls.is_some(),
        needs_certificate: listener.requires_certificate(),
        protocol: listener.protocol,
    };
    listeners.map(of).collect()
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
