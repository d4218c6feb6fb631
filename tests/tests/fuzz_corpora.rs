//! Replays the corpora of the fuzz targets: `fuzz/corpus/<target>/*`, one input a file. What a fuzzer found stays found.

use std::{
    fs, io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use culex_tests::fuzz_targets::TARGETS;

fn corpora() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus")
}

/// The inputs of a target in order of their names.
fn inputs(target: &str) -> io::Result<Vec<PathBuf>> {
    let files: io::Result<Vec<_>> =
        fs::read_dir(corpora().join(target))?.map(|entry| entry.map(|entry| entry.path())).collect();
    let mut files = files?;
    files.sort();
    Ok(files)
}

#[test]
fn every_input_of_every_corpus_passes() {
    let mut failed = Vec::new();
    for target in TARGETS {
        let inputs = inputs(target.name).unwrap_or_else(|error| panic!("corpus of {}: {error}", target.name));
        assert!(inputs.len() >= 20, "the corpus of {} has {} files", target.name, inputs.len());
        for path in inputs {
            let input = fs::read(&path).unwrap();
            if catch_unwind(AssertUnwindSafe(|| (target.run)(&input))).is_err() {
                failed.push(path);
            }
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

/// A corpus without a target would be replayed by nobody.
#[test]
fn every_corpus_has_a_target() {
    for entry in fs::read_dir(corpora()).unwrap() {
        let name = entry.unwrap().file_name();
        assert!(TARGETS.iter().any(|target| name == target.name), "{name:?}");
    }
}
