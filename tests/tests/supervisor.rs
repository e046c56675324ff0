//! The supervisor as a process sees it: an lcore on a pair of ports, clients on the socket, traffic
//! meanwhile.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;

use fastpath::burst::PortIndex;
use fastpath::ipc::{Reply, Request, Status};
use fastpath::lcore::LcoreConfig;
use fastpath::policy::learnt::Learnt;
use fastpath::policy::snapshot::{Limits, Policy, Snapshot};
use fastpath::port::pair::PairPort;
use fastpath::port::spread::{Ends, LcorePort};
use fastpath::supervisor::desk::Desk;
use fastpath::supervisor::{Settings, Supervisor, SupervisorError, usable_cores};
use fastpath::time::Nanos;
use tests::connection::busy_hour;

/// A data plane that runs, and the far ends of its two ports.
struct Plane {
    outside: PairPort,
    socket: PathBuf,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Desk, SupervisorError>>,
}

/// A client of the socket.
struct Client {
    reader: BufReader<UnixStream>,
}

/// A path that no other test has.
fn socket_path() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("fermata-test-{}-{number}.sock", std::process::id()))
}

fn settings(socket: &Path) -> Settings {
    let lcore = LcoreConfig { flows: 4096, ..LcoreConfig::default() };
    Settings { lcore, cores: Vec::new(), idle: true, socket: socket.to_owned() }
}

fn snapshot() -> Arc<Snapshot> {
    Arc::new(Snapshot::compile(Policy::catalogue().unwrap()).unwrap())
}

fn start(socket: &Path, port: PairPort) -> Result<Supervisor, SupervisorError> {
    start_lcores(socket, port, 1)
}

/// More lcores than the machine has cores share the last one.
fn start_lcores(
    socket: &Path,
    port: PairPort,
    lcores: usize,
) -> Result<Supervisor, SupervisorError> {
    let ids = usable_cores();
    let cores = (0..lcores).map(|lcore| ids[lcore.min(ids.len() - 1)]).collect();
    let settings = Settings { cores, ..settings(socket) };
    let make = move || Ok::<_, String>(LcorePort::spread(port, lcores, Ends::Wire, 1024));
    Supervisor::start(settings, snapshot(), make)
}

impl Plane {
    fn start() -> Self {
        Self::of_lcores(1)
    }

    fn of_lcores(lcores: usize) -> Self {
        let socket = socket_path();
        let (outside, inside) = PairPort::new(4096);
        let supervisor = start_lcores(&socket, inside, lcores).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stop);
        let thread = std::thread::spawn(move || supervisor.run(&flag));
        Self { outside, socket, stop, thread }
    }

    fn client(&self) -> Client {
        Client { reader: BufReader::new(UnixStream::connect(&self.socket).unwrap()) }
    }

    /// Sends a busy hour through it, and `between` after every frame. Every frame comes back by the
    /// other port, as it was and in order.
    fn traffic(&mut self, mut between: impl FnMut(usize)) -> usize {
        let arrivals = busy_hour(8, "api.openai.com");
        for (n, (at, port, frame)) in arrivals.iter().enumerate() {
            self.outside.clock().set(*at);
            self.outside.inject(*port, frame).unwrap();
            let (back, sent) = self.take();
            assert_eq!((back, sent), (PortIndex(port.0 ^ 1), frame.clone().into()), "frame {n}");
            between(n);
        }
        arrivals.len()
    }

    /// The next frame that comes out; the test's own limit ends the wait where none does.
    fn take(&mut self) -> (PortIndex, fastpath::port::mem::Buffer) {
        loop {
            if let Some(taken) = self.outside.take() {
                return taken;
            }
            assert!(!self.thread.is_finished(), "the data plane is gone");
            std::thread::yield_now();
        }
    }

    fn stop(self) -> Desk {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap().unwrap()
    }
}

impl Client {
    fn ask(&mut self, request: &Request) -> Reply {
        self.line(&serde_json::to_string(request).unwrap())
    }

    fn line(&mut self, line: &str) -> Reply {
        self.send(&format!("{line}\n"));
        let mut reply = String::new();
        self.reader.read_line(&mut reply).unwrap();
        serde_json::from_str(&reply).unwrap()
    }

    fn send(&mut self, text: &str) {
        self.reader.get_mut().write_all(text.as_bytes()).unwrap();
    }

    /// The status, once it is as `ready` wants it: the lcore publishes by its own time, which the
    /// test moves.
    fn status(&mut self, mut ready: impl FnMut(&Status) -> bool) -> Status {
        loop {
            match self.ask(&Request::Status) {
                Reply::Status(status) if ready(&status) => return *status,
                Reply::Status(_) => std::thread::yield_now(),
                other => panic!("{other:?}"),
            }
        }
    }
}

fn policy_with_stall(stall_ms: u64) -> Request {
    let limits = Limits { stall_ms, ..Limits::default() };
    let policy = Policy { limits, ..Policy::catalogue().unwrap() };
    Request::Apply { policy: Box::new(policy) }
}

#[test]
fn the_socket_tells_what_has_passed() {
    let mut plane = Plane::start();
    let sent = plane.traffic(|_| {}) as u64;
    // Time goes on, so that what waits to be decided is, and all of it is published.
    let clock = plane.outside.clock();
    let mut client = plane.client();
    let status = client.status(|status| {
        clock.set(clock.now() + Nanos::from_millis(500));
        status.exchanges == 16 && status.frames.rx_frames == sent
    });
    assert_eq!((status.frames.tx_frames, status.frames.drops.len()), (sent, 0));
    assert_eq!((status.mode.as_str(), status.flows.h1), ("wire", 8));
    let Reply::Exchanges(page) = client.ask(&Request::Exchanges { after: 0, limit: 5 }) else {
        panic!("a page of exchanges was asked for");
    };
    assert_eq!((page.rows.len(), page.next, page.missed), (5, 5, 0));
    assert_eq!(page.rows[0].endpoint.as_deref(), Some("openai"));
    let Reply::Flows(flows) = client.ask(&Request::Flows { limit: 100 }) else {
        panic!("flows were asked for");
    };
    assert_eq!(flows.len(), 8);
    let stats = plane.stop().final_stats();
    assert!(stats.balanced);
    assert_eq!((stats.rx, stats.tx, stats.exchanges), (sent, sent, 16));
}

#[test]
fn the_bypass_is_turned_and_told_over_the_socket() {
    let plane = Plane::start();
    let mut client = plane.client();
    for on in [true, true, false] {
        assert_eq!(client.ask(&Request::Bypass { on }), Reply::Bypassed(on));
        let status = client.status(|_| true);
        assert_eq!(status.bypassed, on);
    }
    plane.stop();
}

#[test]
fn what_three_lcores_tell_is_one_account() {
    let mut plane = Plane::of_lcores(3);
    let sent = plane.traffic(|_| {}) as u64;
    let clock = plane.outside.clock();
    let mut client = plane.client();
    let status = client.status(|status| {
        clock.set(clock.now() + Nanos::from_millis(500));
        let looped: u64 = status.lcores.iter().map(|lcore| lcore.frames).sum();
        status.exchanges == 16 && status.frames.rx_frames == sent && looped == sent
    });
    assert_eq!((status.spread.as_str(), status.lcores.len()), ("software", 3));
    assert_eq!((status.frames.tx_frames, status.frames.drops.len()), (sent, 0));
    assert_eq!((status.flows.opened, status.flows.h1), (8, 8));
    let Reply::Exchanges(page) = client.ask(&Request::Exchanges { after: 0, limit: 100 }) else {
        panic!("a page of exchanges was asked for");
    };
    let mut ids: Vec<_> = page.rows.iter().map(|line| line.id.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 16, "no number is given twice");
    let stats = plane.stop().final_stats();
    assert!(stats.balanced && stats.held == 0);
    assert_eq!((stats.rx, stats.tx, stats.exchanges), (sent, sent, 16));
    assert_eq!(stats.lcore_frames.iter().sum::<u64>(), sent);
}

#[test]
fn a_policy_reaches_every_lcore_and_each_tells_what_it_has_learnt() {
    let mut plane = Plane::of_lcores(2);
    let mut client = plane.client();
    assert!(matches!(client.ask(&policy_with_stall(100)), Reply::Applied(_)));
    plane.traffic(|_| {});
    let clock = plane.outside.clock();
    // Of eight clients, whoever owns them: 16 replies.
    let all = |learnt: &Learnt| learnt.http1.complete == 16;
    loop {
        clock.set(clock.now() + Nanos::from_millis(500));
        match client.ask(&Request::Learnt) {
            Reply::Learnt(Some(learnt)) if learnt.get("openai").is_some_and(all) => break,
            Reply::Learnt(_) => std::thread::yield_now(),
            other => panic!("{other:?}"),
        }
    }
    plane.stop();
}

#[test]
fn ports_that_are_not_one_an_lcore_are_refused() {
    let make = || Ok::<_, String>(Vec::<PairPort>::new());
    let error = Supervisor::start(settings(&socket_path()), snapshot(), make).unwrap_err();
    assert_eq!(error.to_string(), "0 ports were made; expected 1, one an lcore");
}

/// Packets, flows and keys are in its memory, hugepages included.
#[test]
fn a_core_dump_holds_no_memory() {
    let _plane = Plane::start();
    let filter = std::fs::read_to_string("/proc/self/coredump_filter").unwrap();
    assert_eq!(u64::from_str_radix(filter.trim(), 16), Ok(0), "{filter}");
}

#[test]
fn what_has_been_learnt_is_told_when_it_is_asked_for() {
    let mut plane = Plane::start();
    plane.traffic(|_| {});
    let clock = plane.outside.clock();
    let mut client = plane.client();
    // The lcore tells after it was asked, and learns when an exchange has ended.
    let learnt = loop {
        clock.set(clock.now() + Nanos::from_millis(500));
        match client.ask(&Request::Learnt) {
            Reply::Learnt(Some(learnt)) if !learnt.is_empty() => break learnt,
            Reply::Learnt(_) => std::thread::yield_now(),
            other => panic!("{other:?}"),
        }
    };
    assert!(learnt.contains_key("openai"));
}

#[test]
fn a_policy_takes_effect_under_traffic_and_no_frame_is_lost() {
    let mut plane = Plane::start();
    let mut client = plane.client();
    let mut applied = 0;
    let sent = plane.traffic(|n| {
        if n % 20 == 0 {
            let reply = client.ask(&policy_with_stall(100 + n as u64));
            assert!(matches!(&reply, Reply::Applied(_)), "{reply:?}");
            applied += 1;
        }
    }) as u64;
    let last = 100 + (sent - 1) / 20 * 20;
    let Reply::Policy(policy) = client.ask(&Request::Policy) else {
        panic!("a policy was asked for")
    };
    assert_eq!(policy.limits.stall_ms, last);
    let status = client.status(|_| true);
    assert_eq!(status.policy.revision, 1 + applied);
    let stats = plane.stop().final_stats();
    assert_eq!((stats.rx, stats.tx, stats.drops.values().sum()), (sent, sent, 0_u64));
}

#[test]
fn two_clients_are_served_at_once() {
    let plane = Plane::start();
    let (mut one, mut other) = (plane.client(), plane.client());
    // The first is in the middle of its line while the second is answered.
    one.send("{\"request\":");
    assert!(matches!(other.ask(&Request::Status), Reply::Status(_)));
    assert!(matches!(one.line("\"clients\"}"), Reply::Clients(_)));
    plane.stop();
}

#[test]
fn a_malformed_request_gets_an_error_and_the_next_one_its_answer() {
    let plane = Plane::start();
    let mut client = plane.client();
    for line in ["", "{", "[]", r#"{"request":"reboot"}"#, r#"{"request":"flows"}"#, "\u{1}\u{2}"] {
        let reply = client.line(line);
        assert!(
            matches!(&reply, Reply::Error(e) if e.code == "invalid_request"),
            "{line}: {reply:?}"
        );
    }
    assert!(matches!(client.ask(&Request::Status), Reply::Status(_)));
    plane.stop();
}

#[test]
fn a_policy_that_cannot_be_compiled_leaves_the_old_one_in_force() {
    let plane = Plane::start();
    let mut client = plane.client();
    let mut policy = Policy::catalogue().unwrap();
    policy.endpoints.push(policy.endpoints[0].clone());
    let reply = client.ask(&Request::Apply { policy: Box::new(policy) });
    assert!(matches!(&reply, Reply::Error(e) if e.code == "invalid_policy"), "{reply:?}");
    assert_eq!(client.status(|_| true).policy.revision, 1);
    plane.stop();
}

#[test]
fn a_client_that_is_killed_changes_nothing() {
    let mut plane = Plane::start();
    let mut client = plane.client();
    client.send("{\"request\":\"led");
    let mut client = Some(client);
    let sent = plane.traffic(|n| {
        if n == 30 {
            drop(client.take());
        }
    }) as u64;
    assert!(matches!(plane.client().ask(&Request::Status), Reply::Status(_)));
    let stats = plane.stop().final_stats();
    assert_eq!((stats.rx, stats.tx), (sent, sent));
}

#[test]
fn a_second_instance_on_the_same_socket_is_refused() {
    let plane = Plane::start();
    let (_outside, inside) = PairPort::new(8);
    let error = start(&plane.socket, inside).unwrap_err();
    assert!(matches!(error, SupervisorError::InUse(_)), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("already listens there") && text.contains("--socket"), "{text}");
    // The first one is none the worse for it.
    assert!(matches!(plane.client().ask(&Request::Status), Reply::Status(_)));
    plane.stop();
}

#[test]
fn a_socket_that_a_dead_instance_left_behind_is_taken_over() {
    let plane = Plane::start();
    let socket = plane.socket.clone();
    plane.stop();
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let (_outside, inside) = PairPort::new(8);
    let supervisor = start(&socket, inside).unwrap();
    assert!(supervisor.run(&AtomicBool::new(true)).is_ok());
    assert!(!socket.exists(), "the socket is removed at the end");
}

#[test]
fn a_port_that_cannot_be_had_says_why() {
    let make = || Err::<Vec<PairPort>, _>("no such interface: eth9");
    let error = Supervisor::start(settings(&socket_path()), snapshot(), make).unwrap_err();
    assert_eq!(error.to_string(), "no such interface: eth9");
}
