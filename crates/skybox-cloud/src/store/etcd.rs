//! The store that many machines share: etcd, from version 3.4 on.
//!
//! Whatever may be asked twice without harm is tried again, at another member, until [`EtcdConfig::wait`] is over: members
//! come and go, and elections take a moment. A transaction is sent again only if it was certainly not carried out: if its
//! answer is lost, whoever sent it knows best how to find out what became of it.

mod checkup;
mod configured;

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use etcd_client::{
    Client, Compare, CompareOp, ConnectOptions, Error, EventType, GetOptions, KeyValue, PutOptions,
    TlsOptions, TxnOp, TxnOpResponse, WatchOptions, WatchResponse, WatchStream,
};
use tokio::time::Instant;
use tonic::{Code, ConnectError, Status};

pub use checkup::MemberStatus;

use super::{
    Asked, Change, Changes, Committed, Condition, Entry, Lease, LeaseId, Listed, Op, Revision, Store,
    StoreError, Txn, Watch,
};

/// Keys that are read at once.
const PAGE: i64 = 100;
/// Bytes of one answer: a page of keys may be larger than what a client takes by itself.
const ANSWER_BYTES_MAX: usize = 256 << 20;
/// How long one member may take to answer before another one is asked.
const ATTEMPT: Duration = Duration::from_secs(1);
/// The pause before that.
const AGAIN: Duration = Duration::from_millis(50);
/// How often a watch that hears nothing asks its member whether it is still there.
const PROGRESS: Duration = Duration::from_secs(2);
/// When a watch that hears nothing, although it asks, counts as broken.
const SILENT: Duration = Duration::from_secs(9);
/// How often a connection with something open on it is tried: members close one that is tried more often than every 5 s
/// (`--grpc-keepalive-min-time`), or without anything open.
const PING: Duration = Duration::from_secs(6);
const PING_WAIT: Duration = Duration::from_secs(3);

/// Where etcd is, and who this program is there.
#[derive(Clone, Default)]
pub struct EtcdConfig {
    /// Its members, as `host:port` or with `http://` or `https://` before.
    pub members: Vec<String>,
    /// What all keys begin with, so that many programs can share it: a user's role is given for that. It ends with a `/`.
    pub prefix: String,
    /// A user and its password.
    pub user: Option<(String, String)>,
    /// Certificates.
    pub tls: Option<TlsOptions>,
    /// How long one question may take, whatever members are tried; 0 is 5 s.
    pub wait: Duration,
}

impl fmt::Debug for EtcdConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = self.user.as_ref().map(|(user, _)| user);
        f.debug_struct("EtcdConfig")
            .field("members", &self.members)
            .field("prefix", &self.prefix)
            .field("user", &user)
            .finish_non_exhaustive()
    }
}

/// A program's part of an etcd.
pub struct Etcd {
    config: EtcdConfig,
    client: Client,
}

impl Etcd {
    /// Connects, and says who this is.
    ///
    /// # Errors
    /// `Unreachable` if no member answers in time; `Refused`, also of what is configured.
    pub async fn connect(config: EtcdConfig) -> Result<Etcd, StoreError> {
        let config = EtcdConfig {
            wait: if config.wait.is_zero() { Duration::from_secs(5) } else { config.wait },
            ..config
        };
        if !config.prefix.ends_with('/') {
            let why = format!(
                "the keys of a program begin with a prefix that ends with `/`, not `{}`",
                config.prefix
            );
            return Err(StoreError::Refused { why });
        }
        let mut options = ConnectOptions::new()
            // A member that is cut off from the others says so, instead of answering from what it knew.
            .with_require_leader(true)
            // A question that is refused for its old token has not been carried out.
            .with_auto_token_refresh(true)
            .with_connect_timeout(ATTEMPT)
            .with_keep_alive(PING, PING_WAIT)
            .with_keep_alive_while_idle(false);
        if let Some((user, password)) = &config.user {
            options = options.with_user(user, password);
        }
        if let Some(tls) = &config.tls {
            options = options.with_tls(tls.clone());
        }
        let mut tries = Tries::of(config.wait, None);
        let client = loop {
            let connected = first_word(&config, options.clone(), &tries).await;
            if let Some(connected) = tries.judge(connected).await {
                break connected?;
            }
        };
        Ok(Etcd { config, client })
    }

    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.config.prefix)
    }

    fn entry(&self, kv: &KeyValue) -> Result<Entry, StoreError> {
        entry(&self.config.prefix, kv)
    }

    fn tries(&self) -> Tries<'_> {
        let client = self.config.user.is_some().then_some(&self.client);
        Tries::of(self.config.wait, client)
    }

    async fn page(
        &self,
        first: &str,
        end: &[u8],
        at: Option<Revision>,
        tries: &Tries<'_>,
    ) -> Result<(Listed, bool), StoreError> {
        let mut options = GetOptions::new().with_range(end).with_limit(PAGE);
        if let Some(at) = at {
            options = options.with_revision(number(at));
        }
        let mut kv = self.client.kv_client().max_decoding_message_size(ANSWER_BYTES_MAX);
        let answer = tries.attempt(kv.get(first, Some(options))).await?;
        let entries: Result<Vec<_>, _> = answer.kvs().iter().map(|kv| self.entry(kv)).collect();
        let revision = at.or_else(|| answer.header().map(|header| revision(header.revision())));
        Ok((Listed { revision: revision.unwrap_or_default(), entries: entries? }, answer.more()))
    }

    async fn list_all(&self, prefix: &str, tries: &Tries<'_>) -> Result<Listed, StoreError> {
        let first = self.key(prefix);
        let end = end_of(&first);
        let (mut listed, mut more) = self.page(&first, &end, None, tries).await?;
        while more && let Some(last) = listed.entries.last() {
            // The key after it, at the revision of the first page.
            let next = format!("{}\0", self.key(&last.key));
            let (page, further) = self.page(&next, &end, Some(listed.revision), tries).await?;
            listed.entries.extend(page.entries);
            more = further;
        }
        Ok(listed)
    }

    async fn commit_once(&self, txn: &Txn, tries: &Tries<'_>) -> Result<Committed, StoreError> {
        let compare = |condition: &Condition| match condition {
            Condition::Absent(key) => Compare::create_revision(self.key(key), CompareOp::Equal, 0),
            Condition::CreatedAt(key, at) => {
                Compare::create_revision(self.key(key), CompareOp::Equal, number(*at))
            }
            Condition::ChangedAt(key, at) => {
                Compare::mod_revision(self.key(key), CompareOp::Equal, number(*at))
            }
        };
        let op = |op: &Op| match op {
            Op::Put { key, value, lease } => {
                let options = lease.map(|lease| PutOptions::new().with_lease(lease.0));
                TxnOp::put(self.key(key), value.as_str(), options)
            }
            Op::Delete(key) => TxnOp::delete(self.key(key), None),
            Op::Get(key) => TxnOp::get(self.key(key), None),
        };
        let asked = etcd_client::Txn::new()
            .when(txn.when.iter().map(compare).collect::<Vec<_>>())
            .and_then(txn.then.iter().map(op).collect::<Vec<_>>())
            .or_else(txn.otherwise.iter().map(op).collect::<Vec<_>>());
        let mut kv = self.client.kv_client().max_decoding_message_size(ANSWER_BYTES_MAX);
        let answer = match tries.at_last(kv.txn(asked)).await {
            // Which one it is, etcd does not say.
            Err(StoreError::LeaseGone(_)) => {
                return Err(StoreError::LeaseGone(self.gone_of(txn, tries).await));
            }
            answer => answer?,
        };
        let mut got = Vec::new();
        for read in answer.op_responses() {
            if let TxnOpResponse::Get(read) = read {
                got.push(read.kvs().first().map(|kv| self.entry(kv)).transpose()?);
            }
        }
        let at = answer.header().map_or_else(Revision::default, |header| revision(header.revision()));
        Ok(Committed { met: answer.succeeded(), revision: at, got })
    }

    async fn watch_once(&self, key: &str, from: Revision, tries: &Tries<'_>) -> Result<Watching, StoreError> {
        // From one step earlier: of a step that is the last before those that are forgotten, etcd may have forgotten what it
        // deleted, and a member that is not further than a watch answers none of its questions.
        let seen = Revision(from.0.saturating_sub(1));
        let first = number(seen.max(Revision(1)));
        let options = WatchOptions::new().with_prefix().with_start_revision(first);
        let mut client = self.client.watch_client().max_decoding_message_size(ANSWER_BYTES_MAX);
        let mut stream = tries.attempt(client.watch(key, Some(options))).await?;
        // The first word says that it has begun, or why not.
        let begun = tries.attempt(stream.message()).await?;
        let begun = begun.ok_or_else(|| unreachable("the watch ended as it began"))?;
        if begun.canceled() && begun.compact_revision() == 0 {
            return Err(StoreError::Refused { why: begun.cancel_reason().to_owned() });
        }
        let now = Instant::now();
        let (begun, prefix) = (Some(begun).filter(|begun| begun.canceled()), self.config.prefix.clone());
        Ok(Watching { stream, begun, prefix, seen, heard: now, asks_at: now + PROGRESS, over: false })
    }

    /// A lease of a transaction that has ended; without an answer, the first.
    async fn gone_of(&self, txn: &Txn, tries: &Tries<'_>) -> LeaseId {
        let leases = txn.then.iter().chain(&txn.otherwise).filter_map(|op| match op {
            Op::Put { lease, .. } => *lease,
            _ => None,
        });
        let leases: BTreeSet<_> = leases.collect();
        for lease in leases.iter().skip(usize::from(leases.len() == 1)) {
            let left = tries.attempt(self.client.lease_client().time_to_live(lease.0, None)).await;
            if left.is_ok_and(|left| left.ttl() <= 0) {
                return *lease;
            }
        }
        leases.first().copied().unwrap_or(LeaseId(0))
    }
}

impl Store for Etcd {
    fn list(&self, prefix: &str) -> Asked<'_, Listed> {
        let prefix = prefix.to_owned();
        Box::pin(async move {
            let mut tries = self.tries();
            loop {
                let listed = match self.list_all(&prefix, &tries).await {
                    // Compacted between two of its pages: it begins anew.
                    Err(StoreError::Compacted { .. }) => {
                        Err(unreachable("it was compacted while it was read"))
                    }
                    listed => listed,
                };
                if let Some(listed) = tries.judge(listed).await {
                    return listed;
                }
            }
        })
    }

    fn commit(&self, txn: Txn) -> Asked<'_, Committed> {
        Box::pin(async move {
            txn.check()?;
            let mut tries = self.tries();
            loop {
                let answer = self.commit_once(&txn, &tries).await;
                if matches!(answer, Err(StoreError::Unreachable { may_have_run: true, .. })) {
                    return answer;
                }
                if let Some(answer) = tries.judge(answer).await {
                    return answer;
                }
            }
        })
    }

    fn watch(&self, prefix: &str, from: Revision) -> Asked<'_, Box<dyn Watch>> {
        let key = self.key(prefix);
        Box::pin(async move {
            let mut tries = self.tries();
            loop {
                let watch = self.watch_once(&key, from, &tries).await;
                if let Some(watch) = tries.judge(watch).await {
                    return watch.map(|watch| Box::new(watch) as Box<dyn Watch>);
                }
            }
        })
    }

    fn grant(&self, ttl: Duration) -> Asked<'_, Lease> {
        Box::pin(async move {
            let seconds = i64::try_from(ttl.as_millis().div_ceil(1_000)).unwrap_or(i64::MAX).max(1);
            let mut tries = self.tries();
            loop {
                // A lease that nobody knows ends by itself, so it may be asked for twice.
                let granted = tries.attempt(self.client.lease_client().grant(seconds, None)).await;
                if let Some(granted) = tries.judge(granted).await {
                    let granted = granted?;
                    let ttl = Duration::from_secs(u64::try_from(granted.ttl()).unwrap_or_default());
                    return Ok(Lease { id: LeaseId(granted.id()), ttl });
                }
            }
        })
    }

    fn renew(&self, lease: LeaseId) -> Asked<'_, ()> {
        Box::pin(async move {
            let mut tries = self.tries();
            loop {
                // Renewed as the stream opens, which costs no more than a question: so it goes to a member that answers now.
                let renewed = tries.attempt(self.client.lease_client().keep_alive(lease.0)).await;
                if let Some(renewed) = tries.judge(renewed.map(drop)).await {
                    return renewed.map_err(|error| with_lease(error, lease));
                }
            }
        })
    }

    fn revoke(&self, lease: LeaseId) -> Asked<'_, ()> {
        Box::pin(async move {
            let mut tries = self.tries();
            loop {
                let revoked = tries.attempt(self.client.lease_client().revoke(lease.0)).await;
                match tries.judge(revoked).await {
                    None => {}
                    Some(Err(StoreError::LeaseGone(_)) | Ok(_)) => return Ok(()),
                    Some(Err(error)) => return Err(error),
                }
            }
        })
    }
}

impl fmt::Debug for Etcd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Etcd").field("config", &self.config).finish_non_exhaustive()
    }
}

struct Watching {
    stream: WatchStream,
    /// Its first word, if that was its last.
    begun: Option<WatchResponse>,
    prefix: String,
    /// The last change. That there were none until a later revision is not believed: before 3.4.25 and 3.5.8 a member
    /// could say so ahead of changes that it had yet to tell.
    seen: Revision,
    heard: Instant,
    /// When the member is asked whether it is still there.
    asks_at: Instant,
    over: bool,
}

impl Watch for Watching {
    fn next(&mut self) -> Asked<'_, Changes> {
        Box::pin(async move {
            if self.over {
                return Err(unreachable("the watch has ended"));
            }
            let heard = self.hear().await;
            self.over = heard.is_err();
            heard
        })
    }
}

impl Watching {
    async fn hear(&mut self) -> Result<Changes, StoreError> {
        let answer = match self.begun.take() {
            Some(begun) => begun,
            None => self.word().await?,
        };
        if answer.compact_revision() > 0 {
            return Err(StoreError::Compacted { oldest: revision(answer.compact_revision()).next() });
        }
        if answer.canceled() {
            return Err(unreachable(&format!("the watch was ended: {}", answer.cancel_reason())));
        }
        let (mut changes, before) = (Vec::new(), self.seen);
        for event in answer.events() {
            let Some(kv) = event.kv() else { continue };
            let revision = revision(kv.mod_revision());
            // What was seen before the watch began, or was told twice.
            if revision <= before {
                continue;
            }
            let (key, entry) = match event.event_type() {
                EventType::Delete => (key_of(&self.prefix, kv)?, None),
                EventType::Put => entry(&self.prefix, kv).map(|entry| (entry.key.clone(), Some(entry)))?,
            };
            self.seen = self.seen.max(revision);
            changes.push(Change { key, revision, entry });
        }
        Ok(Changes { revision: self.seen, changes })
    }

    /// What the member says next. It is asked for a word from time to time.
    async fn word(&mut self) -> Result<WatchResponse, StoreError> {
        loop {
            match tokio::time::timeout_at(self.asks_at, self.stream.message()).await {
                Ok(message) => {
                    self.heard = Instant::now();
                    self.asks_at = self.heard + PROGRESS;
                    return next_of(message);
                }
                Err(_) if self.heard.elapsed() >= SILENT => {
                    return Err(unreachable(&format!("a member has said nothing for {SILENT:?}")));
                }
                Err(_) => {
                    // Before it is asked: whoever drops this has it ask in vain, not twice.
                    self.asks_at = Instant::now() + PROGRESS;
                    let asked = tokio::time::timeout(ATTEMPT, self.stream.request_progress()).await;
                    asked.map_err(|_| unreachable("a member does not read"))?.map_err(told)?;
                }
            }
        }
    }
}

fn next_of(message: Result<Option<WatchResponse>, Error>) -> Result<WatchResponse, StoreError> {
    message.map_err(told)?.ok_or_else(|| unreachable("the watch ended without a word"))
}

fn key_of(prefix: &str, kv: &KeyValue) -> Result<String, StoreError> {
    let not_text = || StoreError::NotText { key: String::from_utf8_lossy(kv.key()).into_owned() };
    let key = std::str::from_utf8(kv.key()).map_err(|_| not_text())?;
    Ok(key.strip_prefix(prefix).unwrap_or(key).to_owned())
}

fn entry(prefix: &str, kv: &KeyValue) -> Result<Entry, StoreError> {
    let key = key_of(prefix, kv)?;
    let Ok(value) = std::str::from_utf8(kv.value()) else { return Err(StoreError::NotText { key }) };
    Ok(Entry {
        value: value.to_owned(),
        created: revision(kv.create_revision()),
        changed: revision(kv.mod_revision()),
        lease: (kv.lease() != 0).then_some(LeaseId(kv.lease())),
        key,
    })
}

/// The first key after all that begin so.
fn end_of(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    // Text has no bytes that could not be counted up.
    match end.last_mut() {
        Some(last) => *last += 1,
        // All keys.
        None => end.push(0),
    }
    end
}

fn revision(number: i64) -> Revision {
    Revision(u64::try_from(number).unwrap_or_default())
}

fn number(revision: Revision) -> i64 {
    i64::try_from(revision.0).unwrap_or(i64::MAX)
}

fn unreachable(why: &str) -> StoreError {
    StoreError::Unreachable { why: why.to_owned(), may_have_run: true }
}

/// Connects, and asks something.
async fn first_word(
    config: &EtcdConfig,
    options: ConnectOptions,
    tries: &Tries<'_>,
) -> Result<Client, StoreError> {
    let client = tries.attempt(Client::connect(&config.members, Some(options))).await?;
    // Without a password nothing has been said yet, and whoever starts wants to know.
    let asked = GetOptions::new().with_prefix().with_limit(1).with_keys_only();
    tries.attempt(client.kv_client().get(config.prefix.as_str(), Some(asked))).await?;
    Ok(client)
}

/// One question, which may be asked more than once.
struct Tries<'c> {
    until: Instant,
    /// Whose token may be out of date, and was not made anew yet.
    token_of: Option<&'c Client>,
}

impl<'c> Tries<'c> {
    fn of(wait: Duration, token_of: Option<&'c Client>) -> Tries<'c> {
        Tries { until: Instant::now() + wait, token_of }
    }

    /// Asks one member, for a part of the time.
    async fn attempt<V>(&self, asking: impl Future<Output = Result<V, Error>>) -> Result<V, StoreError> {
        within(self.until.min(Instant::now() + ATTEMPT), asking).await
    }

    /// Asks one member, for all the time that is left.
    async fn at_last<V>(&self, asking: impl Future<Output = Result<V, Error>>) -> Result<V, StoreError> {
        within(self.until, asking).await
    }

    /// An answer that stands; `None`: it is asked again, after a pause or with another token.
    async fn judge<V>(&mut self, answer: Result<V, StoreError>) -> Option<Result<V, StoreError>> {
        match answer {
            Err(StoreError::Unreachable { .. }) if Instant::now() + AGAIN < self.until => {
                tokio::time::sleep(AGAIN).await;
                None
            }
            // Roles may have changed since, and not all that is refused for that is asked again by the client itself: what
            // is refused within a stream, and what a changed role has made outdated.
            Err(StoreError::Refused { why }) => {
                let has_new = match self.token_of.take() {
                    Some(client) => self.attempt(client.refresh_token()).await.is_ok(),
                    None => false,
                };
                (!has_new).then_some(Err(StoreError::Refused { why }))
            }
            answer => Some(answer),
        }
    }
}

async fn within<V>(until: Instant, asking: impl Future<Output = Result<V, Error>>) -> Result<V, StoreError> {
    match tokio::time::timeout_at(until, asking).await {
        Ok(answered) => answered.map_err(told),
        Err(_) => Err(unreachable("etcd does not answer")),
    }
}

/// What etcd does not find is a lease, and which one it does not say.
fn with_lease(error: StoreError, lease: LeaseId) -> StoreError {
    match error {
        StoreError::LeaseGone(_) => StoreError::LeaseGone(lease),
        error => error,
    }
}

fn told(error: Error) -> StoreError {
    match error {
        Error::GRpcStatus(status) => of_status(&status),
        Error::LeaseKeepAliveError(why) if why.contains("not found") => StoreError::LeaseGone(LeaseId(0)),
        Error::InvalidArgs(why) => StoreError::Refused { why },
        Error::InvalidUri(why) => StoreError::Refused { why: format!("no address of a member: {why}") },
        // Of a certificate that is none: members are connected when they are asked.
        Error::TransportError(error) => {
            StoreError::Refused { why: skybox_core::TextChain::of(&error).joined() }
        }
        error => unreachable(&skybox_core::TextChain::of(&error).joined()),
    }
}

fn of_status(status: &Status) -> StoreError {
    let why = status.message().to_owned();
    match status.code() {
        Code::NotFound if why.contains("lease not found") => StoreError::LeaseGone(LeaseId(0)),
        // The revision that it has kept it does not say here.
        Code::OutOfRange if why.contains("compacted") => {
            StoreError::Compacted { oldest: Revision::default() }
        }
        Code::InvalidArgument if why.contains("too many operations") || why.contains("too large") => {
            StoreError::TooLarge { what: why }
        }
        // Nothing of it was carried out.
        Code::InvalidArgument
            if ["authentication failed", "user name is empty", "auth store is old"]
                .iter()
                .any(|of| why.contains(of)) =>
        {
            StoreError::Refused { why }
        }
        Code::FailedPrecondition if why.contains("authentication is not enabled") => {
            StoreError::Refused { why }
        }
        Code::OutOfRange if why.contains("TTL") => StoreError::Invalid { why },
        Code::InvalidArgument | Code::FailedPrecondition => StoreError::Invalid { why },
        Code::PermissionDenied | Code::Unauthenticated => StoreError::Refused { why },
        Code::ResourceExhausted if why.contains("space exceeded") => StoreError::Refused {
            why: format!(
                "{why}: compact and defragment etcd, raise `--quota-backend-bytes`, then `etcdctl alarm disarm`"
            ),
        },
        code => {
            let why = if why.is_empty() { code.description().to_owned() } else { why };
            let was_not_sent = was_not_connected(status) || why.contains("no leader");
            StoreError::Unreachable { why, may_have_run: !was_not_sent }
        }
    }
}

/// Whether there was no connection over which something could have been sent.
fn was_not_connected(status: &Status) -> bool {
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        if error.is::<ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_where_the_next_one_begins() {
        assert_eq!(end_of("node/"), b"node0");
        assert_eq!(end_of(""), b"\0");
        let umlaut = end_of("\u{fc}");
        assert!(*umlaut > *"\u{fc}z".as_bytes() && *umlaut <= *"\u{fd}".as_bytes());
    }

    #[test]
    fn a_password_is_not_shown() {
        let user = Some(("skybox".to_owned(), "secret".to_owned()));
        let config = EtcdConfig { members: vec!["a:2379".to_owned()], user, ..EtcdConfig::default() };
        let shown = format!("{config:?}");
        assert!(shown.contains("skybox") && !shown.contains("secret"), "{shown}");
    }
}
