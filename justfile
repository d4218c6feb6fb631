# The routine, by name. Continuous integration is `.ci/run` and does not need `just`.

# Format, lints and the proof that the engine does no I/O: quick enough before every commit.
check:
    .ci/run fmt clippy purity

# All tests. Clients that are not installed are skipped with a message; `.ci/install` installs them.
test *ARGS:
    cargo test --workspace {{ARGS}}

# Statement by statement against the specification.
conformance *ARGS:
    cargo test -p culex-tests --test conformance {{ARGS}}

# Real clients against the built broker.
interop *ARGS:
    CULEX_REQUIRE_CLIENTS=1 cargo test -p culex-tests --test interop {{ARGS}}

# What threads share, in every interleaving.
loom:
    .ci/run loom

# Fuzz one target; needs a nightly toolchain and cargo-fuzz.
fuzz TARGET="decode" SECONDS="60":
    cargo +nightly fuzz run --fuzz-dir fuzz {{TARGET}} -- -max_total_time={{SECONDS}}

# Micro-benchmarks.
bench *ARGS:
    cargo bench -p culex-benches {{ARGS}}

# Instructions of the hot path; `just instructions --write "what changed"` writes them down.
instructions *ARGS:
    cargo run -p culex-instructions -- {{ARGS}}

# Brokers side by side, with the goals.
compare *ARGS:
    cargo build --release
    cargo run --release -p culex-benches --bin compare -- {{ARGS}}

# Churn for 20 minutes; memory and files must not grow.
soak *ARGS:
    cargo build --release
    cargo run --release -p culex-benches --bin soak -- {{ARGS}}

# Everything that a change must pass.
ci:
    .ci/run
