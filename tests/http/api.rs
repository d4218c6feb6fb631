//! Who may do what, and what is answered.

use serde_json::{Value, json};

use crate::program::{ADMIN, CLIENT, Program, VIEWER, until};
use crate::request::Request;

/// A request that does no harm for each operation of the description.
fn operations(description: &Value) -> Vec<(Request, Option<String>, String)> {
    let mut all = Vec::new();
    for (path, operations) in description["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let mut target = path.clone();
            while let (Some(from), Some(to)) = (target.find('{'), target.find('}')) {
                target.replace_range(from..=to, "nobody");
            }
            if path.ends_with("stream") {
                target.push_str("?filter=nothing&timeout=1");
            }
            let request = Request::new(&method.to_uppercase(), &target)
                .header("content-type", "application/json")
                .body(if method == "get" { "" } else { "{}" });
            let role = operation["x-role"].as_str().map(str::to_owned);
            all.push((request, role, format!("{method} {path}")));
        }
    }
    all
}

#[test]
fn each_role_may_do_what_the_description_says() {
    let program = Program::with_users("");
    let description = Request::get("/api/v1/openapi.json").send(program.http).json();
    let operations = operations(&description);
    assert!(operations.len() > 30, "{}", operations.len());
    let rank = |role: &str| ["client", "viewer", "admin"].iter().position(|known| *known == role).unwrap();
    for (request, needs, name) in operations {
        let anonymous = request.clone().send(program.http).status;
        assert_eq!(anonymous == 401, needs.is_some(), "{name}: {anonymous}");
        for (who, role) in [(CLIENT, "client"), (VIEWER, "viewer"), (ADMIN, "admin")] {
            let answer = program.send(request.clone(), who);
            let may = needs.as_deref().is_none_or(|needs| rank(role) >= rank(needs));
            assert_eq!(answer.status != 403, may, "{name} as {role}: {} {}", answer.status, answer.text());
            assert!(answer.status < 500, "{name} as {role}: {} {}", answer.status, answer.text());
        }
    }
}

#[test]
fn without_users_the_token_of_the_link_sees_and_publishes_and_changes_nothing() {
    let program = Program::plain();
    let bearer = program.bearer();
    assert_eq!(program.send(Request::get("/api/v1/me"), &bearer).json()["role"], "viewer");
    let publish = Request::post("/api/v1/publish", &json!({ "topic": "a", "payload": 1 }));
    assert_eq!(program.send(publish, &bearer).status, 200);
    for request in [Request::post("/api/v1/reload", &json!({})), Request::new("DELETE", "/api/v1/clients/x")]
    {
        assert_eq!(program.send(request, &bearer).status, 403);
    }
    for wrong in ["Bearer 0", "Bearer", "bearer", "Basic YTpi", "Basic !", "Digest x"] {
        assert_eq!(program.send(Request::get("/api/v1/me"), wrong).status, 401, "{wrong}");
    }
}

#[test]
fn who_is_there_can_be_listed_and_disconnected() {
    let program = Program::with_users("");
    let stream =
        Request::get("/api/v1/stream?filter=x/%2B").header("authorization", CLIENT).open(program.http);
    crate::streams::read_until(&stream, ": open");
    let clients = program.send(Request::get("/api/v1/clients?limit=1"), VIEWER).json();
    let found = clients["items"][0]["client_id"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/clients/{}", found.replace('$', "%24").replace('/', "%2F"));
    assert_eq!(program.send(Request::get(&path), VIEWER).json()["client_id"], found);
    let subscriptions = program.send(Request::get("/api/v1/subscriptions"), VIEWER).json();
    assert_eq!(subscriptions["items"], json!([{ "client_id": found, "filter": "x/+" }]));
    assert_eq!(program.send(Request::new("DELETE", &path), ADMIN).status, 204);
    assert_eq!(program.send(Request::get(&path), VIEWER).status, 404);
    drop(stream);
}

#[test]
fn a_list_of_subscriptions_goes_on_where_it_stopped() {
    let program = Program::with_users("");
    let filters: Vec<_> = (0..7).map(|n| format!("filter=f/{n}")).collect();
    let target = format!("/api/v1/stream?{}", filters.join("&"));
    let _first = Request::get(&target).header("authorization", CLIENT).open(program.http);
    let _second = Request::get(&target).header("authorization", CLIENT).open(program.http);
    let all = || {
        let (mut found, mut after) = (Vec::new(), String::new());
        loop {
            let page =
                program.send(Request::get(&format!("/api/v1/subscriptions?limit=3{after}")), VIEWER).json();
            found.extend(page["items"].as_array().unwrap().clone());
            let Some(next) = page["next"].as_str() else { return found };
            after = format!("&after={}", next.replace('/', "%2F").replace('|', "%7C"));
        }
    };
    let mut found = Vec::new();
    until(|| {
        found = all();
        found.len() >= 14
    });
    let unique: std::collections::BTreeSet<_> = found.iter().map(ToString::to_string).collect();
    assert_eq!((found.len(), unique.len()), (14, 14), "{found:?}");
}

#[test]
fn a_reload_changes_roles_and_rules_at_once() {
    let program = Program::with_users("");
    let acl = program.folder.path().join("acl");
    std::fs::write(&acl, "user ana\ntopic #\n").unwrap();
    let changes = program.send(Request::post("/api/v1/reload", &json!({})), ADMIN);
    assert_eq!(changes.status, 200, "{}", changes.text());
    let publish = || Request::post("/api/v1/publish", &json!({ "topic": "a" }));
    assert_eq!(program.send(publish(), CLIENT).status, 403);
    assert_eq!(program.send(publish(), ADMIN).status, 200);
}

#[test]
fn top_shows_the_same_in_a_terminal() {
    let program = Program::with_users("");
    let output = std::process::Command::new(culex_tests::broker::binary())
        .args(["top", "-n", "2", "-d", "1", "--data-dir"])
        .arg(program.folder.path().join("state"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(text.matches("messages in ").count(), 2, "{text}");
    assert!(!text.contains('\u{1b}'), "{text}");
}

#[test]
fn problems_say_what_is_wrong_with_which_field() {
    let program = Program::with_users("");
    for (request, status, field) in [
        (Request::post("/api/v1/publish", &json!({ "topic": "a/#" })), 400, "topic"),
        (Request::post("/api/v1/publish", &json!({ "topic": "" })), 400, "topic"),
        (Request::post("/api/v1/publish", &json!({ "topic": "$SYS/x" })), 403, "topic"),
        (Request::post("/api/v1/publish", &json!({ "topic": "a", "qos": 3 })), 400, "qos"),
        (
            Request::post(
                "/api/v1/publish",
                &json!({ "topic": "a", "payload": 1, "payload_encoding": "text" }),
            ),
            400,
            "payload",
        ),
        (Request::post("/api/v1/publish", &json!({ "topic": "a", "colour": 1 })), 400, "the body"),
        (Request::post("/api/v1/publish/batch", &json!({ "messages": [] })), 400, "messages"),
        (
            Request::post("/api/v1/publish", &json!({ "topic": "a" })).header("idempotency-key", ""),
            400,
            "Idempotency-Key",
        ),
        (Request::get("/api/v1/stream"), 400, "filter"),
        (Request::get("/api/v1/stream?filter=a%23"), 400, "filter"),
        (Request::get("/api/v1/stream?filter=a&timeout=0"), 400, "timeout"),
        (Request::get("/api/v1/retained?limit=1001"), 400, "limit"),
        (Request::get("/api/v1/retained?after=x"), 400, "after"),
        (Request::get("/api/v1/retained?colour=x"), 400, "colour"),
        (Request::new("PUT", "/api/v1/topics/a?retain=maybe").body("x"), 400, "retain"),
        (Request::new("PUT", "/api/v1/topics/%ff").body("x"), 400, "topic"),
    ] {
        let answer = program.send(request, ADMIN);
        let problem = answer.json();
        assert!(answer.head.contains("content-type: application/problem+json"), "{}", answer.head);
        assert_eq!((answer.status, problem["field"].as_str()), (status, Some(field)), "{problem}");
    }
}
