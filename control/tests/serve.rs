//! The daemon as a process between a real data plane and everybody who asks: what is applied and taken
//! back, what is refused, and what outlasts a `kill -9`.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test may")]

mod plane;

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use control::api::client::{Client, ClientError};
use fastpath::policy::snapshot::RuleMode;
use hyper::Method;
use plane::Plane;
use serde_json::{Value, json};

/// A daemon with a store of its own, in a directory that goes with it.
struct Daemon {
    directory: PathBuf,
    process: Child,
}

fn directory(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("fermata-serve-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).unwrap();
    path
}

fn spawn(directory: &std::path::Path) -> Child {
    let socket = directory.join("plane.sock");
    let process = Command::new(env!("CARGO_BIN_EXE_fermata"))
        .arg("--socket")
        .arg(socket)
        .args(["serve", "--config"])
        .arg(directory.join("serve.yaml"))
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    // It listens before it does anything else.
    while UnixStream::connect(directory.join("api.sock")).is_err() {
        std::thread::yield_now();
    }
    process
}

impl Daemon {
    fn start(name: &str, more: &str) -> Self {
        let directory = directory(name);
        let d = directory.display();
        let config = format!(
            "socket: {d}/api.sock\naudit: {d}/audit.jsonl\nstore: {{ directory: {d}/store }}\n{more}"
        );
        std::fs::write(directory.join("serve.yaml"), config).unwrap();
        let process = spawn(&directory);
        Self { directory, process }
    }

    fn client(&self) -> Client {
        Client::new(&self.directory.join("api.sock"))
    }

    fn get(&self, path: &str) -> Value {
        self.client().ask(Method::GET, path, None).unwrap()
    }

    fn post(&self, path: &str, body: &Value) -> Result<Value, ClientError> {
        self.client().ask(Method::POST, path, Some(body))
    }

    fn refusal(&self, path: &str, body: &Value) -> (u16, String) {
        match self.post(path, body) {
            Err(ClientError::Refused(status, reply)) => (status, reply.code),
            other => panic!("{other:?}"),
        }
    }

    /// `fermata` with these arguments and this daemon.
    fn fermata(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fermata"));
        command.args(arguments).arg("--api").arg(self.directory.join("api.sock"));
        command.arg("--store").arg(self.directory.join("store")).output().unwrap()
    }

    fn policy(&self, name: &str, mode: &str) -> String {
        let file = self.directory.join(name);
        std::fs::write(&file, policy(mode)).unwrap();
        file.display().to_string()
    }

    fn audit(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.directory.join("audit.jsonl")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Waits until health is as expected; the harness ends a test that waits for ever.
    fn until(&self, expected: impl Fn(&Value) -> bool) -> Value {
        loop {
            let health: Result<Value, _> = self.client().ask(Method::GET, "/v1/health", None);
            match health {
                Ok(health) if expected(&health) => return health,
                _ => std::thread::sleep(std::time::Duration::from_millis(50)),
            }
        }
    }

    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    fn restart(&mut self) {
        self.process = spawn(&self.directory);
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn policy(mode: &str) -> String {
    format!(
        "apiVersion: fermata.dev/v1alpha1\nkind: CoordinationPolicy\nmetadata: {{ name: all }}\nspec:\n  mode: {mode}\n"
    )
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn a_policy_is_compared_applied_confirmed_and_taken_back() {
    let daemon = Daemon::start("walk", "");
    let plane = Plane::start(&daemon.directory.join("plane.sock"));
    daemon.until(|health| health["healthy"] == true);
    let file = daemon.policy("p.yaml", "enforce");
    let diff = daemon.fermata(&["diff", &file]);
    assert_eq!(code(&diff), 2, "{}", text(&diff));
    let dry = daemon.fermata(&["apply", &file, "--dry-run"]);
    assert!(code(&dry) == 2 && text(&dry).contains("exchanges"), "{}", text(&dry));
    assert_eq!(plane.policy().mode, RuleMode::Shadow, "so far nothing was changed");
    let arguments = ["apply", &file, "--confirm-within", "10m", "--why", "less waste"];
    let applied = daemon.fermata(&arguments);
    assert!(text(&applied).starts_with("Revision 1: in force."), "{}", text(&applied));
    assert_eq!(plane.policy().mode, RuleMode::Enforce);
    assert_eq!(code(&daemon.fermata(&["apply", &file])), 1, "one waits");
    assert_eq!(code(&daemon.fermata(&["confirm"])), 0);
    assert_eq!(code(&daemon.fermata(&["diff", &file])), 0);
    let stale = daemon.fermata(&["apply", &file, "--if-revision", "7"]);
    assert!(
        code(&stale) == 1 && text(&stale).contains("revision 1 is in force"),
        "{}",
        text(&stale)
    );
    let history = daemon.fermata(&["history"]);
    assert!(
        text(&history).contains("less waste") && text(&history).contains("uid"),
        "{}",
        text(&history)
    );
    assert_eq!(code(&daemon.fermata(&["rollback", "0"])), 0);
    assert_eq!(plane.policy().mode, RuleMode::Shadow);
    let broken = daemon.policy("broken.yaml", "enforced");
    let broken = daemon.fermata(&["apply", &broken]);
    assert!(code(&broken) == 3 && text(&broken).contains("broken.yaml:5"), "{}", text(&broken));
    let done: Vec<_> =
        daemon.audit().into_iter().filter(|line| line["outcome"] == "done").collect();
    assert_eq!(done.len(), 3, "{done:?}");
    assert_eq!(done[0]["what"], "POST /v1/policy/apply");
    assert_eq!(done[0]["revision"], 1);
}

#[test]
fn what_nobody_confirms_is_taken_back_by_itself() {
    let daemon = Daemon::start("expire", "");
    let plane = Plane::start(&daemon.directory.join("plane.sock"));
    daemon.until(|health| health["healthy"] == true);
    let body = json!({ "text": policy("enforce"), "confirm_within": "1s" });
    let applied = daemon.post("/v1/policy/apply", &body).unwrap();
    assert_eq!(applied["in_force"], true);
    daemon.until(|health| health["revision"] == 0 && health["revision_in_force"] == 0);
    assert_eq!(plane.policy().mode, RuleMode::Shadow);
    let expired = daemon.audit().into_iter().any(|line| line["what"] == "expire");
    assert!(expired, "it is in the audit log");
}

#[test]
fn neither_a_killed_daemon_nor_a_new_data_plane_loses_what_was_confirmed() {
    let mut daemon = Daemon::start("killed", "");
    let socket = daemon.directory.join("plane.sock");
    let plane = Plane::start(&socket);
    daemon.until(|health| health["healthy"] == true);
    daemon.post("/v1/policy/apply", &json!({ "text": policy("enforce") })).unwrap();
    daemon
        .post("/v1/policy/apply", &json!({ "text": policy("off"), "confirm_within": "1s" }))
        .unwrap();
    daemon.kill();
    assert_eq!(plane.policy().mode, RuleMode::Off, "the data plane goes on with what it has");
    daemon.restart();
    daemon.until(|health| health["revision_in_force"] == 1);
    assert_eq!(plane.policy().mode, RuleMode::Enforce, "and nobody had confirmed that");
    drop(plane);
    daemon.until(|health| health["data_plane"] == false);
    let offline = daemon.post("/v1/policy/apply", &json!({ "text": policy("shadow") })).unwrap();
    assert_eq!(offline["in_force"], false);
    daemon.post("/v1/policy/rollback", &json!({ "to": 1 })).unwrap();
    let plane = Plane::start(&socket);
    daemon.until(|health| health["healthy"] == true);
    assert_eq!(plane.policy().mode, RuleMode::Enforce);
}

#[test]
fn without_a_daemon_the_store_is_changed_and_the_daemon_finds_it() {
    let mut daemon = Daemon::start("offline", "");
    daemon.kill();
    let file = daemon.policy("p.yaml", "off");
    let applied = daemon.fermata(&["apply", &file]);
    assert!(text(&applied).contains("no daemon runs"), "{}", text(&applied));
    assert_eq!(code(&daemon.fermata(&["apply", &file, "--confirm-within", "1m"])), 5);
    daemon.restart();
    assert_eq!(daemon.get("/v1/policy")["revision"], 1);
    assert_eq!(text(&daemon.fermata(&["get"])).lines().count(), 6);
}

#[test]
fn a_corrupted_store_is_said_and_the_data_plane_keeps_its_policy() {
    let mut daemon = Daemon::start("corrupted", "");
    let plane = Plane::start(&daemon.directory.join("plane.sock"));
    daemon.until(|health| health["healthy"] == true);
    daemon.post("/v1/policy/apply", &json!({ "text": policy("enforce") })).unwrap();
    daemon.kill();
    std::fs::write(daemon.directory.join("store/head"), "nonsense").unwrap();
    daemon.restart();
    let health = daemon.until(|health| health["data_plane"] == true);
    assert_eq!((&health["healthy"], &health["store"]), (&json!(false), &json!(false)));
    assert_eq!(health["error"]["code"], "store_corrupted");
    let refused = daemon.refusal("/v1/policy/apply", &json!({ "text": policy("off") }));
    assert_eq!(refused, (503, "store_corrupted".to_owned()));
    assert_eq!(plane.policy().mode, RuleMode::Enforce);
}

/// Sends bytes as they are; what comes back.
fn raw(daemon: &Daemon, bytes: &[u8]) -> String {
    let mut stream = UnixStream::connect(daemon.directory.join("api.sock")).unwrap();
    // The daemon may close before it has read everything.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn malformed_and_oversized_requests_are_refused_and_written_down_and_change_nothing() {
    let daemon = Daemon::start("malformed", "");
    let before = daemon.get("/v1/policy/history");
    let head = "POST /v1/policy/apply HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n";
    let large = format!("{head}Content-Length: 5000000\r\n\r\n{}", " ".repeat(5_000_000));
    let long = format!("GET /v1/health HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(100_000));
    for (bytes, status) in [
        ("nonsense\r\n\r\n".to_owned(), "400"),
        (long, "431"),
        (large, "413"),
        (format!("{head}Content-Length: 9\r\n\r\n{{\"te"), "400"),
        (format!("{head}Content-Length: 2\r\n\r\n[]"), "422"),
        (format!("{head}Content-Length: 14\r\n\r\n{{\"text\": null}}"), "422"),
        ("POST /v1/bypass HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}".to_owned(), "415"),
        ("DELETE /v1/policy HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), "405"),
        ("GET /v1/../etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), "404"),
        ("GET /v1/exchanges?limit=-1 HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), "422"),
    ] {
        let answer = raw(&daemon, bytes.as_bytes());
        let shown = &bytes[..bytes.len().min(80)];
        // A connection that breaks off in the middle of a body has nobody left to answer.
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")) || answer.is_empty(),
            "{shown}: {answer}"
        );
    }
    assert_eq!(daemon.get("/v1/policy/history"), before);
    let refused: Vec<_> = daemon.audit().iter().map(|line| line["status"].clone()).collect();
    for status in [400, 413, 415, 405, 404, 422] {
        assert!(refused.contains(&json!(status)), "{status}: {refused:?}");
    }
}

/// A peer with another user's number, which only root can become.
#[test]
fn a_foreign_user_is_refused_and_one_with_a_role_may_what_it_says() {
    let daemon = Daemon::start("foreign", "roles:\n  - { user: \"4243\", role: operate }\n");
    let binary = daemon.directory.join("fermata");
    std::fs::copy(env!("CARGO_BIN_EXE_fermata"), &binary).unwrap();
    std::fs::set_permissions(&binary, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::set_permissions(&daemon.directory, std::fs::Permissions::from_mode(0o755)).unwrap();
    let file = daemon.policy("p.yaml", "off");
    let as_user = |uid: &str, arguments: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", uid, "--regid", uid, "--clear-groups"]).arg(&binary);
        command.args(arguments).arg("--api").arg(daemon.directory.join("api.sock")).output()
    };
    match as_user("4242", &["version"]) {
        Ok(output) if !text(&output).contains("setpriv:") => {}
        _ => {
            eprintln!("skipped: another user's number needs root and setpriv (Debian: util-linux)");
            return;
        }
    }
    let stranger = as_user("4242", &["get"]).unwrap();
    assert!(
        code(&stranger) == 1 && text(&stranger).contains("uid 4242 has no role"),
        "{}",
        text(&stranger)
    );
    assert_eq!(code(&as_user("4243", &["get"]).unwrap()), 0);
    let applied = as_user("4243", &["apply", &file]).unwrap();
    let said = "has the role operate; expected admin";
    assert!(code(&applied) == 1 && text(&applied).contains(said), "{}", text(&applied));
    assert_eq!(daemon.get("/v1/policy")["revision"], 0);
    let audit = daemon.audit();
    let outcomes: Vec<_> = audit.iter().filter_map(|line| line["outcome"].as_str()).collect();
    assert_eq!(outcomes, ["no_role", "role_too_low"]);
    assert_eq!((&audit[0]["who"], &audit[0]["from"]), (&json!("uid 4242"), &json!("unix")));
}

#[test]
fn the_stream_tells_what_is_new() {
    let daemon = Daemon::start("stream", "");
    let _plane = Plane::start(&daemon.directory.join("plane.sock"));
    let mut stream = UnixStream::connect(daemon.directory.join("api.sock")).unwrap();
    stream.write_all(b"GET /v1/events HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let (mut told, mut piece) = (String::new(), [0; 4096]);
    while !(told.contains("event: status\ndata: {")
        && told.contains("event: policy\ndata: {\"revision\":0}"))
    {
        let read = stream.read(&mut piece).unwrap();
        assert_ne!(read, 0, "the stream does not end by itself: {told}");
        told += &String::from_utf8_lossy(&piece[..read]);
    }
    assert!(told.contains("content-type: text/event-stream"), "{told}");
}
