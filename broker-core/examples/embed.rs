//! A broker inside another program: `cargo run -p culex-core --example embed [ADDRESS]`.
#![expect(clippy::print_stdout, reason = "an example talks")]

use std::net::SocketAddr;
use std::time::Duration;

use culex_core::Broker;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:1883".to_owned());
    let broker = Broker::builder().listen(address.parse::<SocketAddr>()?).start().await?;
    let fails = async {
        println!("listening on {:?}, Ctrl-C ends", broker.local_addrs());
        broker.failed().await
    };
    tokio::select! {
        // In this order: Ctrl-C is caught before anybody reads that we listen.
        biased;
        _ = tokio::signal::ctrl_c() => {}
        failure = fails => eprintln!("{failure}"),
    }
    for (metric, value) in broker.metrics().iter().filter(|(_, value)| *value > 0) {
        println!("{:24} {value:>12}  {}", metric.name, metric.help);
    }
    broker.shutdown(Duration::from_secs(10)).await?;
    Ok(())
}
