//! What an attempt to log in costs. An unknown user must take as long as a wrong password does, or the time of an answer
//! would tell who exists: the ratio of the first two is to be below 1.5.

#![expect(clippy::expect_used, reason = "a benchmark")]

use std::net::{IpAddr, Ipv4Addr};

use criterion::{Criterion, criterion_group, criterion_main};
use culex::users::{PasswordFile, Users};
use tokio::runtime::Builder;

/// `secret`, by `culex passwd`.
const USERS: &str =
    "ann:$argon2id$v=19$m=19456,t=2,p=1$zgS37NKSvpeykqsffcf/KQ$9cBOgh82Vm43AYXJtL/A00ZDCTuIO00A2WUkPnA8BAw\n";

fn attempts(criterion: &mut Criterion) {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let _entered = runtime.enter();
    let file = PasswordFile::parse("users", USERS.as_bytes()).expect("correct");
    let users = Users::of(file).expect("random numbers");
    // Each from an address of its own: failures of one would make it wait.
    let mut next = 0;
    let mut address = || {
        next += 1;
        Some(IpAddr::V4(Ipv4Addr::from_bits(next)))
    };
    let mut group = criterion.benchmark_group("login");
    group.sample_size(30);
    for (case, name, password) in [
        ("wrong password", "ann", "guess"),
        ("unknown user", "nobody", "guess"),
        ("remembered", "ann", "secret"),
    ] {
        group.bench_function(case, |bencher| {
            bencher.iter(|| runtime.block_on(users.check(address(), name, password.as_bytes())));
        });
    }
    group.finish();
}

criterion_group!(benches, attempts);
criterion_main!(benches);
