//! `culex pub` and `culex sub` do what mosquitto_pub and mosquitto_sub do, with either broker.

use std::io::{BufRead, Write};
use std::process::Stdio;

use crate::harness::{
    Broker, Running, Subscriber, Tools, has_mosquitto, run, run_ok, run_with, stdout, text,
};

/// Both brokers if mosquitto is there, else ours.
fn brokers() -> Vec<Broker> {
    let mut brokers = vec![Broker::culex(&[])];
    if has_mosquitto() {
        brokers.push(Broker::mosquitto());
    }
    brokers
}

fn tools() -> Vec<Tools> {
    if has_mosquitto() { vec![Tools::Culex, Tools::Mosquitto] } else { vec![Tools::Culex] }
}

#[test]
fn every_publisher_reaches_every_subscriber_at_every_qos() {
    for broker in brokers() {
        for (publisher, subscriber) in
            tools().into_iter().flat_map(|p| tools().into_iter().map(move |s| (p, s)))
        {
            let listening =
                Subscriber::start(subscriber, &broker, &["-v", "-q", "2", "-C", "5", "-t", "a/+"]);
            for (qos, version) in [("0", "311"), ("1", "31"), ("2", "311"), ("2", "31")] {
                let version = format!("mqttv{version}");
                run_ok(publisher.publish(&broker, &["-t", "a/b", "-m", qos, "-q", qos, "-V", &version]));
            }
            let expected = ["a/b 0", "a/b 1", "a/b 2", "a/b 2"];
            assert_eq!(listening.0.rest(), expected, "{publisher:?} {subscriber:?}");
        }
    }
}

#[test]
fn payloads_come_from_everywhere() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("payload");
    std::fs::write(&file, "from a\nfile").unwrap();
    let file = file.to_str().unwrap();
    for broker in brokers() {
        for publisher in tools() {
            let listening = Subscriber::start(Tools::Culex, &broker, &["-F", "%t<%p>", "-t", "in"]);
            let input = |arguments: &[&str], stdin: &[u8]| {
                let output = run_with(publisher.publish(&broker, arguments), stdin);
                assert_eq!(output.status.code(), Some(0), "{arguments:?} {}", text(&output.stderr));
            };
            input(&["-t", "in", "-m", "é, and -m"], b"");
            input(&["-t", "in", "-n"], b"");
            input(&["-t", "in", "-f", file], b"");
            input(&["-t", "in", "-s"], b"all\nof it\n");
            input(&["-t", "in", "-l", "-q", "1"], b"a\n\nb\r\nlast");
            input(&["-t", "in", "-m", "end"], b"");
            let mut found = String::new();
            while !found.ends_with("<end>") {
                found = found + "|" + &listening.0.line().unwrap();
            }
            let expected =
                "|in<é, and -m>|in<>|in<from a|file>|in<all|of it|>|in<a>|in<>|in<b\r>|in<last>|in<end>";
            assert_eq!(found, expected, "{publisher:?}");
        }
    }
}

#[test]
fn subscribers_print_the_same() {
    if !has_mosquitto() {
        return;
    }
    let broker = Broker::mosquitto();
    let retained = |topic: &str, payload: &str| {
        run_ok(Tools::Culex.publish(&broker, &["-t", topic, "-m", payload, "-r", "-q", "1"]));
    };
    retained("r/1", "{ \"a\": [1, \"é\"] }");
    retained("r/2", "22.5");
    let formats =
        ["%t|%p|%q|%r|%l|%m|%x|%X|%%", "%10t|%-10t|%.1t|%08l|%-5l|%5p|%-5p|", "\\t\\n\\\\", "@@ %J"];
    for arguments in
        [vec![], vec!["-v"], vec!["-N"]].into_iter().chain(formats.map(|format| vec!["-F", format]))
    {
        let arguments = [&["-t", "r/#", "-C", "2", "-q", "1"], arguments.as_slice()].concat();
        let [ours, theirs] = [Tools::Culex, Tools::Mosquitto]
            .map(|tools| without_time(&run_ok(tools.subscribe(&broker, &arguments))));
        assert_eq!(ours, theirs, "{arguments:?}");
    }
}

/// The time of a JSON object is when each program saw the message.
fn without_time(output: &str) -> String {
    output
        .split("{\"tst\":\"")
        .enumerate()
        .map(|(n, part)| if n == 0 { part } else { part.split_once('"').unwrap().1 })
        .collect()
}

#[test]
fn filters_of_retained_messages_and_topics() {
    for broker in brokers() {
        for topic in ["f/a", "f/b"] {
            run_ok(Tools::Culex.publish(&broker, &["-t", topic, "-m", "old", "-r", "-q", "1"]));
        }
        for tools in tools() {
            let without_a = tools.subscribe(&broker, &["-t", "f/#", "-T", "f/a", "-v", "-C", "1"]);
            assert_eq!(run_ok(without_a), "f/b old\n", "{tools:?}");
            let retained = Subscriber::start(tools, &broker, &["-v", "-t", "f/#", "--retained-only"]);
            run_ok(Tools::Culex.publish(&broker, &["-t", "f/a", "-m", "new"]));
            assert_eq!(retained.0.rest(), Vec::<String>::new(), "{tools:?}");
        }
        // The sign of `Subscriber` is a retained message, which is not shown here.
        let fresh = Tools::Culex.subscribe(&broker, &["-t", "f/#", "-R", "-v", "-C", "1", "-d"]);
        let fresh = Running::start_both(fresh);
        fresh.line_with("received SUBACK");
        run_ok(Tools::Culex.publish(&broker, &["-t", "f/a", "-m", "new"]));
        fresh.line_with("f/a new");
        // Clearing a retained message is publishing an empty one.
        run_ok(Tools::Culex.publish(&broker, &["-t", "f/a", "-n", "-r", "-q", "1"]));
        assert_eq!(run_ok(Tools::Culex.subscribe(&broker, &["-t", "f/#", "-v", "-C", "1"])), "f/b old\n");
    }
}

#[test]
fn the_time_limit_has_an_exit_code() {
    for broker in brokers() {
        for tools in tools() {
            let output = run(tools.subscribe(&broker, &["-t", "nothing", "-W", "1"]));
            assert_eq!(output.status.code(), Some(27), "{tools:?}");
        }
    }
}

#[test]
fn line_mode_streams() {
    for broker in brokers() {
        let listening = Subscriber::start(Tools::Culex, &broker, &["-t", "stream"]);
        let mut publisher = Running::start(Tools::Culex.publish(&broker, &["-t", "stream", "-l", "-q", "1"]));
        for n in 0..100 {
            writeln!(publisher.child.stdin.as_mut().unwrap(), "line {n}").unwrap();
            assert_eq!(listening.0.line().unwrap(), format!("line {n}"));
        }
        drop(publisher.child.stdin.take());
        assert!(publisher.child.wait().unwrap().success());
    }
}

#[test]
fn many_lines_arrive_in_order() {
    for (broker, is_ours) in brokers().into_iter().zip([true, false]) {
        let expected: Vec<i32> = (0..5000).collect();
        let lines: String = expected.iter().map(|n| format!("{n}\n")).collect();
        for qos in ["1", "2"] {
            let listening =
                Subscriber::start(Tools::Culex, &broker, &["-t", "many", "-q", qos, "-C", "5001"]);
            let publisher = Tools::Culex.publish(&broker, &["-t", "many", "-l", "-q", qos]);
            assert_eq!(run_with(publisher, lines.as_bytes()).status.code(), Some(0));
            let mut numbers: Vec<i32> =
                listening.0.rest().iter().map(|number| number.parse().unwrap()).collect();
            // mosquitto 2.0.11 lets new messages overtake those that wait for a busy subscriber.
            if !is_ours {
                numbers.sort_unstable();
            }
            assert_eq!(numbers, expected, "QoS {qos}");
        }
    }
}

#[test]
fn what_comes_of_many_lines_at_qos_0_is_in_order() {
    for broker in brokers() {
        let lines: String = (0..5000).map(|n| format!("{n}\n")).collect();
        // The last message is not one that a full queue may drop.
        let listening = Subscriber::start(Tools::Culex, &broker, &["-t", "many", "-q", "1"]);
        let publisher = Tools::Culex.publish(&broker, &["-t", "many", "-l", "-q", "0"]);
        assert_eq!(run_with(publisher, lines.as_bytes()).status.code(), Some(0));
        run_ok(Tools::Culex.publish(&broker, &["-t", "many", "-m", "5000", "-q", "1"]));
        let mut last = None;
        while last != Some(5000) {
            let number: i32 = listening.0.line().unwrap().parse().unwrap();
            assert!(last < Some(number), "{number} after {last:?}");
            last = Some(number);
        }
    }
}

#[test]
fn a_session_keeps_what_was_not_printed() {
    for broker in brokers() {
        let session = ["-i", "keeper", "-c", "-q", "2", "-t", "kept"];
        run_ok(Tools::Culex.subscribe(&broker, &[&session[..], &["-E"]].concat()));
        for n in ["1", "2", "3"] {
            run_ok(Tools::Culex.publish(&broker, &["-t", "kept", "-m", n, "-q", "2"]));
        }
        for n in ["1\n", "2\n", "3\n"] {
            assert_eq!(run_ok(Tools::Culex.subscribe(&broker, &[&session[..], &["-C", "1"]].concat())), n);
        }
    }
}

#[test]
fn a_will_is_published_when_the_client_vanishes() {
    for broker in brokers() {
        let listening = Subscriber::start(Tools::Culex, &broker, &["-v", "-t", "will/#"]);
        let will = ["--will-topic", "will/x", "--will-payload", "gone", "--will-qos", "1"];
        let victim = Subscriber::start(Tools::Culex, &broker, &[&will[..], &["-t", "none"]].concat());
        drop(victim);
        assert_eq!(listening.0.line().unwrap(), "will/x gone");
        // And not when it says goodbye.
        let polite = Subscriber::start(Tools::Culex, &broker, &[&will[..], &["-t", "none"]].concat());
        assert_eq!(polite.0.terminate(), Some(0));
        run_ok(Tools::Culex.publish(&broker, &["-t", "will/end", "-m", "end"]));
        assert_eq!(listening.0.line().unwrap(), "will/end end");
    }
}

#[test]
fn a_closed_standard_output_is_a_quiet_end() {
    for broker in brokers() {
        let mut command = Tools::Culex.subscribe(&broker, &["-t", "flood"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        run_ok(Tools::Culex.publish(&broker, &["-t", "flood", "-m", "first", "-r", "-q", "1"]));
        let mut reader = stdout(&mut child);
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        assert_eq!(line, "first\n");
        drop(reader);
        let mut publisher = Running::start(Tools::Culex.publish(&broker, &["-t", "flood", "-l"]));
        let mut input = publisher.child.stdin.take().unwrap();
        while child.try_wait().unwrap().is_none() {
            input.write_all(b"more\n").unwrap();
        }
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        assert_eq!(text(&output.stderr), "");
    }
}

#[test]
fn a_subscriber_comes_back_after_the_broker_did() {
    let broker = Broker::culex(&[]);
    let port = broker.port.to_string();
    let listening = Subscriber::start(Tools::Culex, &broker, &["-v", "-t", "again", "--quiet"]);
    assert_eq!(broker.running.terminate(), Some(0));
    // The same port: nobody else got it in the meantime, or the broker says so and the test is moot.
    let again = Running::start(crate::harness::culex(&["-p", &port, "--ephemeral"]));
    let Some(_) = again.line() else {
        println!("skipped: another program took port {port}");
        return;
    };
    let broker = Broker { port: broker.port, running: again };
    run_ok(Tools::Culex.publish(&broker, &["-t", "again", "-m", "hello", "-r", "-q", "1"]));
    assert_eq!(listening.0.line().unwrap(), "again hello");
}
