//! The page in Debian's Chromium, with Playwright's hands and axe's eyes.

use std::process::{Command, Stdio};

use culex_tests::tools::{has, is_installed, workspace};

use crate::program::Program;

#[test]
fn the_page_shows_messages_draws_a_chart_and_is_usable_by_all() {
    let modules = workspace().join("tests/http/node_modules");
    if !has("chromium")
        || !has("node")
        || !is_installed("playwright-core", modules.join("playwright-core").exists())
    {
        return;
    }
    let program = Program::plain();
    let chromium = Command::new("sh").args(["-c", "command -v chromium"]).output().unwrap();
    let output = Command::new("node")
        .arg(workspace().join("tests/http/programs/page.js"))
        .arg(&program.link)
        .arg(String::from_utf8(chromium.stdout).unwrap().trim())
        // `CULEX_SHOTS=docs/images` makes the pictures of the guide anew.
        .arg(std::env::var_os("CULEX_SHOTS").map(|folder| workspace().join(folder)).unwrap_or_default())
        .env("HOME", program.folder.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}\n{}", program.broker.log());
    assert_eq!(out.lines().filter(|line| line.starts_with("ok ")).count(), 16, "{out}");
}
