use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use culex_core::hooks::{Access, Login, Message};
use culex_core::limits::Limits;
use culex_core::{ConnectError, Gone, PublishError, ServeError, ShutdownError, StartError, SubscribeError};

use super::*;

/// The output of a future that has nothing to wait for, without any runtime.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    match std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it waits"),
    }
}

fn current_thread() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn start_without_a_runtime_names_the_other_way() {
    let error = at_once(builder(1).start()).unwrap_err();
    assert!(matches!(error, StartError::NoRuntime));
    assert!(error.to_string().contains("start_on_own_runtime()"), "{error}");
}

#[test]
fn a_runtime_without_drivers_is_refused() {
    let bare = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let without_time = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    let without_io = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    for runtime in [bare, without_time, without_io] {
        let error = runtime.block_on(builder(1).start()).unwrap_err();
        assert!(matches!(error, StartError::NoDrivers), "{error}");
        assert!(error.to_string().contains("enable_all()"), "{error}");
    }
}

#[test]
fn start_without_a_listener_names_the_other_way() {
    run(async {
        let error = Broker::builder().start().await.unwrap_err();
        assert!(matches!(error, StartError::NoListener));
        assert!(error.to_string().contains("without_listener()"), "{error}");
    });
    assert!(matches!(Broker::builder().start_on_own_runtime(), Err(StartError::NoListener)));
}

#[test]
fn a_port_that_is_taken_is_named_and_the_others_are_given_back() {
    run(async {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = taken.local_addr().unwrap();
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error = Broker::builder().listen(free).listen(addr).start().await.unwrap_err();
        assert!(error.to_string().contains(&addr.to_string()), "{error}");
        assert!(matches!(error, StartError::Bind { address, .. } if address.ip() == Some(addr)));
        TcpListener::bind(free).unwrap();
    });
}

#[test]
fn no_hook_is_asked_about_clients_in_the_process() {
    run(async {
        let asked = Arc::new(AtomicU64::new(0));
        let counts = || {
            let asked = Arc::clone(&asked);
            move || asked.fetch_add(1, Ordering::Relaxed)
        };
        let (login, access, message) = (counts(), counts(), counts());
        let broker = builder(2)
            .authenticate(move |_: Login| {
                login();
                async { false }
            })
            .authorize(move |_: Access| {
                access();
                async { false }
            })
            .on_publish(move |_: Message| {
                message();
                async { None }
            })
            .start()
            .await
            .unwrap();
        let (app, mut inbox) = broker.client("app").persistent(Duration::MAX).await.unwrap();
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            assert_eq!(app.subscribe("t", qos).await.unwrap(), qos);
            app.publish("t", "x", qos).await.unwrap();
            assert_eq!(next(&mut inbox).await.payload, "x");
        }
        assert_eq!(asked.load(Ordering::Relaxed), 0);
        // They are asked about anybody else.
        assert!(over_tcp(&options(&broker, "other")).await.is_err());
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    });
}

#[test]
fn a_client_may_be_dropped_while_it_publishes() {
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        run(async move {
            let broker = start(2, Limits::default()).await;
            for round in 0..30 {
                let (app, inbox) = broker.client("app").await.unwrap();
                let tasks: Vec<_> = (0..5)
                    .map(|_| {
                        let app = app.clone();
                        tokio::spawn(
                            async move { while app.publish("t", vec![0; 100_000], qos).await.is_ok() {} },
                        )
                    })
                    .collect();
                for _ in 0..round {
                    tokio::task::yield_now().await;
                }
                drop((app, inbox));
                // Their futures end with them, in the middle of a publish.
                for task in tasks {
                    task.abort();
                    let _ = within(task).await;
                }
            }
            await_metric(&broker, "sockets", |count| count == 0).await;
            within(broker.shutdown(PATIENCE)).await.unwrap();
        });
    }
}

#[test]
fn shutdown_may_be_called_again_at_once_and_from_anywhere() {
    run(async {
        let broker = start(2, Limits::default()).await;
        let (app, _inbox) = broker.client("app").await.unwrap();
        let calls: Vec<_> = (0..10)
            .map(|_| {
                let broker = broker.clone();
                tokio::spawn(async move { broker.shutdown(PATIENCE).await })
            })
            .collect();
        for call in calls {
            within(call).await.unwrap().unwrap();
        }
        within(broker.shutdown(PATIENCE)).await.unwrap();
        // Nothing is left to wait for.
        within(broker.shutdown(Duration::ZERO)).await.unwrap();
        assert_eq!(app.ended(), Some(Gone::Stopped));
    });
}

#[test]
fn shutdown_goes_on_when_its_future_is_dropped() {
    run(async {
        for polls in [1, 2, 3] {
            let broker = start(2, Limits::default()).await;
            let mut events = broker.events();
            let mut shutdown = Box::pin(broker.shutdown(PATIENCE));
            for _ in 0..polls {
                if shutdown.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
                    break;
                }
                tokio::task::yield_now().await;
            }
            drop(shutdown);
            assert!(within(events.next()).await.is_none());
            within(broker.shutdown(PATIENCE)).await.unwrap();
        }
    });
}

#[test]
fn a_stopped_broker_lets_nobody_in() {
    run(async {
        let broker = start(1, Limits::default()).await;
        let (app, mut inbox) = broker.client("app").await.unwrap();
        within(broker.shutdown(PATIENCE)).await.unwrap();
        let gone = Gone::Stopped;
        let result = within(app.publish("t", "", QoS::ExactlyOnce)).await;
        assert_eq!(result, Err(PublishError::Gone(gone)));
        assert_eq!(within(app.subscribe("t", QoS::AtMostOnce)).await, Err(SubscribeError::Gone(gone)));
        assert_eq!(within(app.unsubscribe("t")).await, Err(SubscribeError::Gone(gone)));
        within(app.disconnect()).await;
        assert!(within(inbox.next()).await.is_none());
        let error = within(broker.client("late").connect()).await.unwrap_err();
        assert_eq!(error, ConnectError::Serve(ServeError::Stopped));
        assert_eq!(broker.serve(tokio::io::duplex(1).0, "late"), Err(ServeError::Stopped));
    });
}

#[test]
fn a_runtime_that_ends_before_its_broker_leaves_nobody_waiting() {
    let elsewhere = current_thread();
    let runtime = current_thread();
    let (broker, app, inbox) = runtime.block_on(async {
        let broker = start(2, Limits::default()).await;
        let (app, inbox) = broker.client("app").await.unwrap();
        (broker, app, inbox)
    });
    drop(runtime);
    elsewhere.block_on(async {
        let mut inbox = inbox;
        assert!(within(inbox.next()).await.is_none());
        assert_eq!(
            within(app.publish("t", "", QoS::AtLeastOnce)).await,
            Err(PublishError::Gone(Gone::Stopped))
        );
        let error = within(broker.client("late").connect()).await.unwrap_err();
        assert_eq!(error, ConnectError::Serve(ServeError::Stopped));
        let mut events = broker.events();
        for _ in 0..2 {
            let result = within(broker.shutdown(PATIENCE)).await;
            assert!(matches!(result, Err(ShutdownError::NoRuntime)), "{result:?}");
        }
        // The lanes end all the same.
        while within(events.next()).await.is_some() {}
    });
}

#[test]
fn a_broker_that_has_stopped_does_not_miss_its_runtime() {
    let runtime = current_thread();
    let broker = runtime.block_on(async {
        let broker = start(1, Limits::default()).await;
        within(broker.shutdown(PATIENCE)).await.unwrap();
        broker
    });
    drop(runtime);
    at_once(broker.shutdown(PATIENCE)).unwrap();
    let own = builder(1).start_on_own_runtime().unwrap();
    current_thread().block_on(async { within(own.shutdown(PATIENCE)).await.unwrap() });
}

#[test]
fn the_last_handle_may_be_dropped_anywhere() {
    let elsewhere = current_thread();
    let ends = |broker: Broker, place: &dyn Fn(Broker)| {
        let (mut events, addr) = (broker.events(), broker.local_addrs()[0]);
        place(broker);
        elsewhere.block_on(async {
            assert!(within(events.next()).await.is_none());
            within(async {
                while TcpListener::bind(addr).is_err() {
                    tokio::task::yield_now().await;
                }
            })
            .await;
        });
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    for is_own in [false, true] {
        let make = || {
            if is_own {
                return builder(2).start_on_own_runtime().unwrap();
            }
            runtime.block_on(start(2, Limits::default()))
        };
        // Outside of any runtime, in another one, and in its own: in a task, and in one that may block.
        ends(make(), &drop);
        ends(make(), &|broker| elsewhere.block_on(async { drop(broker) }));
        ends(make(), &|broker| {
            let own = broker.runtime().clone();
            drop(own.spawn(async { drop(broker) }));
        });
        ends(make(), &|broker| {
            let own = broker.runtime().clone();
            drop(own.spawn_blocking(|| drop(broker)));
        });
    }
}
