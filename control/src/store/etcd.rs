//! The store in etcd, for a fleet: every appliance that names the same endpoints and prefix has the
//! same policy. Over etcd's JSON gateway, API v3.
//!
//! `PREFIX/head` is the head, `PREFIX/revisions/N` are the texts, and `PREFIX/members/NAME` is there
//! while an appliance is: with a lease. Text and head are written in one transaction, on condition that the
//! head is the one that was read.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::{Entry, Head, Member, Store, StoreError, Version, checked, decode, encode};
use crate::clock;
use crate::failure::Failure;

/// How to reach etcd.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EtcdConfig {
    /// Client addresses of its members: `http://127.0.0.1:2379`.
    pub endpoints: Vec<String>,
    /// What all keys begin with; appliances of the same prefix have the same policy.
    #[serde(default = "prefix")]
    pub prefix: String,
    /// The name of this appliance, unlike that of any other.
    pub member: String,
    /// After so many seconds without a sign of life the appliance is no member any more.
    #[serde(default = "lease")]
    pub lease_seconds: u32,
}

fn prefix() -> String {
    "/fermata".to_owned()
}

fn lease() -> u32 {
    15
}

/// A store in etcd.
#[derive(Debug)]
pub struct EtcdStore {
    config: EtcdConfig,
    hosts: Vec<String>,
    lease: Mutex<Option<Lease>>,
}

/// The lease that this appliance is a member by.
#[derive(Debug)]
struct Lease {
    id: String,
    /// When it is due to be kept alive.
    due: Instant,
}

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// The longest answer, bytes.
const ANSWER_BYTES_MAX: usize = 16 << 20;

impl EtcdStore {
    /// A store that is reached when it is first used.
    ///
    /// # Errors
    /// When an endpoint is no address, or there is none.
    pub fn new(config: EtcdConfig) -> Result<Self, Failure> {
        let wrong = |message: String| Failure::Serve("store.etcd".to_owned(), message);
        let host = |endpoint: &String| {
            let host = endpoint.strip_prefix("http://").filter(|host| host.contains(':'));
            let expected = "expected an address such as `http://127.0.0.1:2379`";
            host.map(|host| host.trim_end_matches('/').to_owned())
                .ok_or_else(|| wrong(format!("endpoints: `{endpoint}`: {expected}")))
        };
        let hosts = config.endpoints.iter().map(host).collect::<Result<Vec<_>, _>>()?;
        if hosts.is_empty() || config.member.is_empty() || config.lease_seconds == 0 {
            let expected = "expected at least one endpoint, a member's name and a lease above 0 s";
            return Err(wrong(expected.to_owned()));
        }
        Ok(Self { config, hosts, lease: Mutex::default() })
    }

    fn key(&self, name: &str) -> String {
        STANDARD.encode(format!("{}/{name}", self.config.prefix))
    }

    /// Asks the first endpoint that answers. Of a stream only what comes until `enough` says so.
    fn ask(
        &self,
        path: &str,
        body: &Value,
        patience: Duration,
        enough: impl Fn(&[u8]) -> bool,
    ) -> Result<Vec<u8>, StoreError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let unusable = |why: String| StoreError::Unusable(self.place(), why);
        let runtime = runtime.map_err(|error| unusable(error.to_string()))?;
        let mut why = "it has no endpoint".to_owned();
        for host in &self.hosts {
            let asked = async {
                let asked = tokio::time::timeout(patience, ask(host, path, body, &enough)).await;
                asked.unwrap_or_else(|_| Err("no answer in time".to_owned()))
            };
            match runtime.block_on(asked) {
                Ok(bytes) => return Ok(bytes),
                Err(error) => why = format!("{host}: {error}"),
            }
        }
        Err(unusable(why))
    }

    fn call(&self, path: &str, body: &Value) -> Result<Value, StoreError> {
        let bytes = self.ask(path, body, PATIENCE, |_| false)?;
        serde_json::from_slice(&bytes)
            .map_err(|error| StoreError::Unusable(self.place(), format!("{path}: {error}")))
    }

    /// The value of a key, and the revision of etcd that wrote it.
    fn get(&self, name: &str) -> Result<Option<(Vec<u8>, String)>, StoreError> {
        let answer = self.call("/v3/kv/range", &json!({ "key": self.key(name) }))?;
        let Some(found) = answer.pointer("/kvs/0") else { return Ok(None) };
        let value = found["value"].as_str().unwrap_or_default();
        let place = format!("{} {name}", self.place());
        let bytes = STANDARD
            .decode(value)
            .map_err(|_| StoreError::Corrupted(place, "it is no base64".to_owned()))?;
        Ok(Some((bytes, found["mod_revision"].as_str().unwrap_or_default().to_owned())))
    }

    /// Makes this appliance a member, or keeps it one. What fails is tried again at the next look.
    fn keep(&self) -> Result<(), StoreError> {
        let mut lease = self.lease.lock().unwrap_or_else(PoisonError::into_inner);
        let now = clock::instant();
        if lease.as_ref().is_some_and(|lease| now < lease.due) {
            return Ok(());
        }
        let every = Duration::from_secs(u64::from(self.config.lease_seconds)) / 3;
        if let Some(held) = lease.as_mut() {
            let kept = self.call("/v3/lease/keepalive", &json!({ "ID": held.id }))?;
            // Without a time to live it has expired, as after a partition.
            if kept.pointer("/result/TTL").is_some() {
                held.due = now + every;
                return Ok(());
            }
            *lease = None;
        }
        let granted = self.call("/v3/lease/grant", &json!({ "TTL": self.config.lease_seconds }))?;
        let id = granted["ID"].as_str().unwrap_or_default().to_owned();
        let about = json!({ "version": env!("CARGO_PKG_VERSION") }).to_string();
        self.call(
            "/v3/kv/put",
            &json!({
                "key": self.key(&format!("members/{}", self.config.member)),
                "value": STANDARD.encode(about),
                "lease": id,
            }),
        )?;
        *lease = Some(Lease { id, due: now + every });
        Ok(())
    }
}

impl Store for EtcdStore {
    fn load(&self) -> Result<(Head, Version), StoreError> {
        match self.get("head")? {
            Some((bytes, revision)) => {
                Ok((decode(&format!("{} head", self.place()), &bytes)?, Version(revision)))
            }
            None => Ok((Head::default(), Version::default())),
        }
    }

    fn text(&self, entry: &Entry) -> Result<String, StoreError> {
        let name = format!("revisions/{}", entry.revision);
        let place = format!("{} {name}", self.place());
        let (bytes, _) = self.get(&name)?.ok_or_else(|| {
            StoreError::Corrupted(place.clone(), "the text of this revision is gone".to_owned())
        })?;
        checked(&place, entry, bytes)
    }

    fn commit(
        &self,
        read: &Version,
        head: &Head,
        text: Option<(&Entry, &str)>,
    ) -> Result<Version, StoreError> {
        let (before, now) = self.load()?;
        if now != *read {
            return Err(StoreError::Changed(self.place()));
        }
        let key = self.key("head");
        let condition = if *read == Version::default() {
            json!({ "key": key, "target": "CREATE", "result": "EQUAL", "create_revision": "0" })
        } else {
            json!({ "key": key, "target": "MOD", "result": "EQUAL", "mod_revision": read.0 })
        };
        let put = |key: String, value: &[u8]| json!({ "request_put": { "key": key, "value": STANDARD.encode(value) } });
        let name = |entry: &Entry| self.key(&format!("revisions/{}", entry.revision));
        let mut changes = vec![put(key, &encode(head))];
        changes.extend(text.map(|(entry, text)| put(name(entry), text.as_bytes())));
        let forgotten = before.entries.iter().filter(|old| head.entry(old.revision).is_none());
        changes
            .extend(forgotten.map(|old| json!({ "request_delete_range": { "key": name(old) } })));
        let done =
            self.call("/v3/kv/txn", &json!({ "compare": [condition], "success": changes }))?;
        match (done["succeeded"].as_bool(), done.pointer("/header/revision")) {
            (Some(true), Some(Value::String(revision))) => Ok(Version(revision.clone())),
            (None, _) if done.get("error").is_some() => {
                Err(StoreError::Unusable(self.place(), done["error"].to_string()))
            }
            _ => Err(StoreError::Changed(self.place())),
        }
    }

    fn wait(&self, read: &Version, patience: Duration) {
        let from = read.0.parse::<u64>().map_or(0, |revision| revision + 1);
        let started = clock::instant();
        // Who is no member now is one when etcd is back.
        let kept = self.keep();
        let mut request = json!({ "key": self.key("head") });
        if from > 0 {
            request["start_revision"] = json!(from.to_string());
        }
        let rest = patience.saturating_sub(started.elapsed());
        // An event, or that the revision is too old to watch from, and has to be read anew.
        let news = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes);
            text.contains("\"events\"") || text.contains("\"canceled\"")
        };
        let body = json!({ "create_request": request });
        let told = kept.is_ok() && self.ask("/v3/watch", &body, rest, news).is_ok();
        if !told {
            std::thread::sleep(patience.saturating_sub(started.elapsed()));
        }
    }

    fn members(&self) -> Result<Vec<Member>, StoreError> {
        let key = format!("{}/members/", self.config.prefix);
        let mut end = key.clone().into_bytes();
        // The key after all that begin so.
        if let Some(last) = end.last_mut() {
            *last += 1;
        }
        let range = json!({ "key": STANDARD.encode(&key), "range_end": STANDARD.encode(end) });
        let answer = self.call("/v3/kv/range", &range)?;
        let found = answer["kvs"].as_array().cloned().unwrap_or_default();
        let member = |found: &Value| {
            let name = STANDARD.decode(found["key"].as_str()?).ok()?;
            let about: Value =
                serde_json::from_slice(&STANDARD.decode(found["value"].as_str()?).ok()?).ok()?;
            let name = String::from_utf8(name).ok()?.strip_prefix(&key)?.to_owned();
            Some(Member { name, version: about["version"].as_str()?.to_owned() })
        };
        Ok(found.iter().filter_map(member).collect())
    }

    fn place(&self) -> String {
        format!("etcd {} {}", self.hosts.join(","), self.config.prefix)
    }
}

async fn ask(
    host: &str,
    path: &str,
    body: &Value,
    enough: &impl Fn(&[u8]) -> bool,
) -> Result<Vec<u8>, String> {
    let stream = TcpStream::connect(host).await.map_err(|error| error.to_string())?;
    let (mut sender, connection) = http1::handshake::<_, Full<Bytes>>(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    tokio::spawn(connection);
    let request = Request::builder()
        .method(Method::POST)
        .uri(path)
        .header(HOST, host)
        .body(Full::new(Bytes::from(body.to_string())))
        .map_err(|error| error.to_string())?;
    let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
    let mut body = Limited::new(response.into_body(), ANSWER_BYTES_MAX);
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| error.to_string())?;
        bytes.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
        if enough(&bytes) {
            break;
        }
    }
    Ok(bytes)
}

#[cfg(test)]
#[path = "etcd_tests.rs"]
mod tests;
