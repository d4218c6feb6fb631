//! `culex bridge` on the command line.

use std::process::Command;

use culex_tests::broker::binary;

#[test]
fn bridge_lists_its_sub_commands() {
    let output = Command::new(binary()).args(["bridge", "--help"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("emulate-aws"), "{text}");
}
