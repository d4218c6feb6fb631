//! Requests that nobody would think of, made up from the description by schemathesis, as each role.

use std::process::{Command, Stdio};

use culex_tests::tools::{is_installed, python_path};

use crate::program::{ADMIN, CLIENT, Program, VIEWER};
use crate::request::Request;

const SEED: &str = "20261121";
/// What must hold of every answer.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,\
    response_schema_conformance,negative_data_rejection,unsupported_method";

fn check(who: &str) {
    let program = Program::with_users("");
    let tool = python_path("http").with_file_name("st");
    if !is_installed("schemathesis", tool.exists()) {
        return;
    }
    // Something to be found.
    program.send(Request::new("PUT", "/api/v1/topics/a").body("1"), ADMIN);
    let output = Command::new(tool)
        .args(["run", &format!("http://{}/api/v1/openapi.json", program.http)])
        .args([
            "--seed",
            SEED,
            "--max-examples",
            "50",
            "--checks",
            CHECKS,
            "--phases",
            "examples,coverage,fuzzing",
        ])
        // An endless answer is not for this tool.
        .args([
            "--exclude-operation-id",
            "stream",
            "--request-timeout",
            "60",
            "--continue-on-failure",
            "--no-shrink",
        ])
        // With several, Python 3.11 itself fails now and then.
        .args(["--workers", "1", "-H", &format!("Authorization: {who}")])
        .current_dir(program.folder.path())
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", program.broker.log());
    assert!(text.contains("Tested: "), "{text}");
    assert_eq!(program.send(Request::get("/readyz"), ADMIN).status, 200);
}

#[test]
fn as_an_admin() {
    check(ADMIN);
}

#[test]
fn as_a_viewer() {
    check(VIEWER);
}

#[test]
fn as_a_client() {
    check(CLIENT);
}

#[test]
fn as_nobody() {
    check("Bearer 0");
}
