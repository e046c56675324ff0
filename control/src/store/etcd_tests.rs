//! With a real etcd: two appliances agree, whatever becomes of it meanwhile.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::super::sha256;
use super::*;

/// An etcd of its own, gone when the test is over.
struct Etcd {
    process: Child,
    data: PathBuf,
    client: u16,
    peer: u16,
}

impl Etcd {
    /// None where etcd is not installed.
    fn start(name: &str) -> Option<Self> {
        let data = std::env::temp_dir().join(format!("fermata-etcd-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&data);
        let port = || TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).ok();
        let (client, peer) = (port()?.port(), port()?.port());
        let Ok(process) = run(&data, client, peer) else {
            eprintln!("skipped: etcd is not there (Debian: etcd-server)");
            return None;
        };
        let etcd = Self { process, data, client, peer };
        etcd.is_up();
        Some(etcd)
    }

    fn store(&self, member: &str) -> EtcdStore {
        let config = EtcdConfig {
            endpoints: vec![format!("http://127.0.0.1:{}", self.client)],
            prefix: "/t".to_owned(),
            member: member.to_owned(),
            lease_seconds: 2,
        };
        EtcdStore::new(config).expect("the configuration is right")
    }

    /// Waits until it answers; the harness ends a test that waits for ever.
    fn is_up(&self) {
        let store = self.store("probe");
        while store.load().is_err() {
            std::thread::yield_now();
        }
    }

    fn signal(&self, signal: &str) {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().is_ok_and(|s| s.success()));
    }

    /// Stops it, and returns when each of its threads has stopped: until then one may answer.
    fn stop(&self) {
        self.signal("-STOP");
        let tasks = format!("/proc/{}/task", self.process.id());
        let state = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("stat"));
        let is_stopped =
            |stat: String| stat.rsplit(") ").next().is_some_and(|s| s.starts_with('T'));
        while !std::fs::read_dir(&tasks)
            .expect("it is there")
            .all(|task| task.and_then(state).is_ok_and(is_stopped))
        {
            std::thread::yield_now();
        }
    }

    /// Ends it without a word, and starts it again with what it has on disk.
    fn kill_and_restart(&mut self) {
        self.process.kill().expect("it runs");
        self.process.wait().expect("it has ended");
        self.process = run(&self.data, self.client, self.peer).expect("it started before");
        self.is_up();
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.data);
    }
}

fn run(data: &std::path::Path, client: u16, peer: u16) -> std::io::Result<Child> {
    let (client, peer) = (format!("http://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
    Command::new("etcd")
        .args(["--name", "t", "--data-dir"])
        .arg(data)
        .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", &format!("t={peer}")])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
}

fn add(store: &EtcdStore, text: &str) -> Result<Version, StoreError> {
    let (mut head, version) = store.load()?;
    let entry = Entry {
        revision: head.next(),
        who: "a".into(),
        when: 1.0,
        why: String::new(),
        sha256: sha256(text.as_bytes()),
        restores: None,
    };
    head.confirmed = Some(entry.revision);
    head.push(entry.clone());
    store.commit(&version, &head, Some((&entry, text)))
}

fn current(store: &EtcdStore) -> Result<String, StoreError> {
    let (head, _) = store.load()?;
    store.text(head.current().and_then(|revision| head.entry(revision)).expect("there is one"))
}

const LONG: Duration = Duration::from_secs(60);

#[test]
fn two_appliances_converge_and_of_two_who_change_at_once_one_is_told() {
    let Some(etcd) = Etcd::start("converge") else { return };
    let (a, b) = (etcd.store("a"), etcd.store("b"));
    let (empty, nothing) = b.load().unwrap();
    add(&a, "one").unwrap();
    assert_eq!(current(&b).unwrap(), "one");
    assert!(matches!(b.commit(&nothing, &empty, None), Err(StoreError::Changed(_))));
    let (head, version) = b.load().unwrap();
    let waiting = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let started = clock::instant();
            b.wait(&version, LONG);
            started.elapsed()
        });
        add(&a, "two").unwrap();
        waiting.join().unwrap()
    });
    assert!(waiting < LONG, "the change was told, not waited for");
    assert_eq!(current(&b).unwrap(), "two");
    assert!(matches!(b.commit(&version, &head, None), Err(StoreError::Changed(_))));
    assert_eq!(current(&a).unwrap(), "two", "who was late has changed nothing");
}

#[test]
fn a_change_that_was_made_before_the_watch_is_not_missed() {
    let Some(etcd) = Etcd::start("missed") else { return };
    let store = etcd.store("a");
    let read = add(&store, "one").unwrap();
    add(&store, "two").unwrap();
    let started = clock::instant();
    store.wait(&read, LONG);
    assert!(started.elapsed() < LONG);
}

#[test]
fn what_was_committed_outlasts_a_kill_and_a_partition() {
    let Some(mut etcd) = Etcd::start("outlasts") else { return };
    let store = etcd.store("a");
    add(&store, "one").unwrap();
    etcd.kill_and_restart();
    assert_eq!(current(&store).unwrap(), "one");
    etcd.stop();
    let error = store.load().unwrap_err().reply();
    assert_eq!(error.code, "store_unusable");
    assert!(add(&store, "lost").is_err(), "nothing is said to be stored that is not");
    etcd.signal("-CONT");
    etcd.is_up();
    assert_eq!(current(&store).unwrap(), "one");
    add(&store, "two").unwrap();
    assert_eq!(current(&etcd.store("b")).unwrap(), "two");
}

#[test]
fn an_appliance_is_a_member_while_it_gives_signs_of_life() {
    let Some(etcd) = Etcd::start("member") else { return };
    let (a, b) = (etcd.store("a"), etcd.store("b"));
    let names = || {
        let members = b.members().expect("etcd is there").into_iter();
        members.map(|member| member.name).collect::<Vec<_>>()
    };
    a.wait(&Version::default(), Duration::ZERO);
    b.wait(&Version::default(), Duration::ZERO);
    assert_eq!(names(), ["a", "b"]);
    // `a` is silent from here on; `b` goes on looking, and etcd forgets `a` when its lease is over.
    while names() != ["b"] {
        b.wait(&Version::default(), Duration::from_millis(100));
    }
}

#[test]
fn a_configuration_that_leads_nowhere_is_an_error() {
    let config = |endpoint: &str| EtcdConfig {
        endpoints: vec![endpoint.to_owned()],
        prefix: prefix(),
        member: "a".to_owned(),
        lease_seconds: lease(),
    };
    for endpoint in ["127.0.0.1:2379", "https://127.0.0.1:2379", "http://nowhere"] {
        let error = EtcdStore::new(config(endpoint)).unwrap_err().to_string();
        assert!(error.contains("expected an address such as"), "{error}");
    }
}
