//! Authentication from a map: each user has topics of their own. `cargo run -p culex-core --example users`
//!
//! It plays the clients itself and ends. In earnest the map would hold hashes; a slow hash belongs into
//! `tokio::task::spawn_blocking`.
#![expect(clippy::print_stdout, reason = "an example talks")]

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use culex_core::client::{Connection, Event, Options, Secret, Session};
use culex_core::codec::TopicFilter;
use culex_core::hooks::{Access, Decision, Login};
use culex_core::{Broker, QoS};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;
type Users = Arc<RwLock<HashMap<String, Vec<u8>>>>;

#[tokio::main]
async fn main() -> Result<()> {
    let users = Users::default();
    let known = Arc::clone(&users);
    let broker = Broker::builder()
        .listen(([127, 0, 0, 1], 0))
        .authenticate(move |login: Login| {
            let decision = decide(&known, &login);
            async move { decision }
        })
        .authorize(|access: Access| async move {
            // `ann` has `ann/…`, and nobody has a filter that begins with a wildcard.
            access.user_name().is_some() && access.user_name() == access.topic().split('/').next()
        })
        .start()
        .await?;

    println!("ann before she is known: {}", outcome(&broker, "ann", "secret").await?);
    // Users may come and go while the broker runs.
    users.write().unwrap_or_else(PoisonError::into_inner).insert("ann".to_owned(), b"secret".to_vec());
    println!("ann with a wrong password: {}", outcome(&broker, "ann", "guess").await?);
    println!("ann: {}", outcome(&broker, "ann", "secret").await?);
    broker.shutdown(Duration::from_secs(10)).await?;
    Ok(())
}

fn decide(users: &Users, login: &Login) -> Decision {
    let users = users.read().unwrap_or_else(PoisonError::into_inner);
    let expected = login.user_name().and_then(|name| users.get(name));
    match (expected, login.password()) {
        (Some(expected), Some(given)) if expected == given => Decision::Accept,
        _ => Decision::BadCredentials,
    }
}

/// What becomes of a client that connects and subscribes to topics of its own and of somebody else.
async fn outcome(broker: &Broker, user: &str, password: &str) -> Result<String> {
    let address = broker.local_addrs().pop().ok_or("no listener")?;
    let mut options = Options::default();
    options.host = address.ip().to_string();
    options.port = address.port();
    options.user_name = Some(user.to_owned());
    options.password = Some(Secret::new(password));
    let mut connection = match Connection::open(&options, Session::default()).await {
        Ok(connection) => connection,
        Err(error) => return Ok(error.to_string()),
    };
    let filters =
        [(TopicFilter::new("ann/#")?, QoS::AtMostOnce), (TopicFilter::new("bob/#")?, QoS::AtMostOnce)];
    connection.subscribe(&filters)?;
    let answer = loop {
        if let Event::Subscribed { codes, .. } = connection.event().await? {
            break codes;
        }
    };
    connection.disconnect().await?;
    let granted = |place: usize| answer.get(place).is_some_and(|code| *code < 0x80);
    Ok(format!("connected; ann/# granted: {}, bob/# granted: {}", granted(0), granted(1)))
}
