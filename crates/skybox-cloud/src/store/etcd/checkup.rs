//! What an operator wants to know of an etcd: each member by itself, and what this program may do there.

use std::time::{Duration, Instant};

use etcd_client::{AlarmAction, AlarmType, Client, ConnectOptions};

use super::{ATTEMPT, Etcd, EtcdConfig, within};
use crate::store::{Condition, LeaseId, Op, Store, StoreError, Txn};

/// A member may take so long for what is asked of it here.
const MEMBER_WAIT: Duration = Duration::from_secs(3);
/// What is written to see whether it can be is gone after so long, if it cannot be deleted.
const TRACE_TTL: Duration = Duration::from_secs(10);
/// Transactions that are timed; the middle one counts.
const ROUNDS: usize = 5;

/// What one member says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberStatus {
    /// Its number among the members.
    pub id: u64,
    /// That of the member that leads, as this one has it; 0 if it knows of none.
    pub leader: u64,
    /// Its version, such as `3.5.21`.
    pub version: String,
    /// Its database on disk.
    pub database_bytes: u64,
    /// How much of that is in use; the rest is for the taking after a defragmentation.
    pub used_bytes: u64,
    /// How large it may become, where the member says so: from version 3.6 on.
    pub quota_bytes: Option<u64>,
    /// It does not vote yet.
    pub is_learner: bool,
    /// What it complains of.
    pub errors: Vec<String>,
    /// Members whose database is full: nothing is written any more until it is not.
    pub out_of_space: Vec<u64>,
    /// Members whose data differ from the others'.
    pub corrupt: Vec<u64>,
}

impl EtcdConfig {
    /// Asks each member by itself, beside one another; in their order, with their addresses.
    pub async fn members_status(&self) -> Vec<(String, Result<MemberStatus, StoreError>)> {
        let asked: Vec<_> = self
            .members
            .iter()
            .map(|member| {
                let asking = status_of(self.clone(), member.clone());
                (member.clone(), tokio::spawn(asking))
            })
            .collect();
        let mut all = Vec::new();
        for (member, asked) in asked {
            let status = asked.await.unwrap_or_else(|error| {
                Err(StoreError::Unreachable { why: error.to_string(), may_have_run: false })
            });
            all.push((member, status));
        }
        all
    }
}

async fn status_of(config: EtcdConfig, member: String) -> Result<MemberStatus, StoreError> {
    let mut options = ConnectOptions::new().with_connect_timeout(ATTEMPT);
    if let Some((user, password)) = &config.user {
        options = options.with_user(user, password);
    }
    if let Some(tls) = &config.tls {
        options = options.with_tls(tls.clone());
    }
    within(tokio::time::Instant::now() + MEMBER_WAIT, async {
        let client = Client::connect([member], Some(options)).await?;
        let mut maintenance = client.maintenance_client();
        let status = maintenance.status().await?;
        let alarms = maintenance.alarm(AlarmAction::Get, AlarmType::None, None).await?;
        let of = |kind: AlarmType| {
            let those = alarms.alarms().iter().filter(|alarm| alarm.alarm() == kind);
            those.map(etcd_client::AlarmMember::member_id).collect()
        };
        let bytes = |count: i64| u64::try_from(count).unwrap_or_default();
        Ok(MemberStatus {
            id: status.header().map_or(0, etcd_client::ResponseHeader::member_id),
            leader: status.leader(),
            version: status.version().to_owned(),
            database_bytes: bytes(status.db_size()),
            used_bytes: bytes(status.raft_used_db_size()),
            quota_bytes: Some(bytes(status.db_size_quota())).filter(|quota| *quota > 0),
            is_learner: status.is_learner(),
            errors: status.errors().to_vec(),
            out_of_space: of(AlarmType::Nospace),
            corrupt: of(AlarmType::Corrupt),
        })
    })
    .await
}

impl Etcd {
    /// Does what every node has to do there: gets a lease, writes below the prefix, reads, deletes. Says how long a
    /// transaction takes. Nothing of it stays.
    ///
    /// # Errors
    /// `Refused` if this program may not; `Unreachable` if nobody answers.
    ///
    /// # Cancel safety
    /// Dropped, it may leave a key behind, which is gone after ten seconds.
    pub async fn try_out(&self) -> Result<Duration, StoreError> {
        let lease = self.grant(TRACE_TTL).await?;
        let tried = self.write_and_delete(lease.id).await;
        // It ends by itself as well.
        drop(self.revoke(lease.id).await);
        tried
    }

    async fn write_and_delete(&self, lease: LeaseId) -> Result<Duration, StoreError> {
        let key = format!("doctor/{:016x}", lease.0);
        let mut took = Vec::new();
        for _ in 0..ROUNDS {
            let began = Instant::now();
            let put = Txn::of([Op::put_on(lease, key.clone(), "tried".to_owned())]);
            let at = self.commit(put).await?.revision;
            took.push(began.elapsed());
            let delete = Txn::when([Condition::ChangedAt(key.clone(), at)], [Op::Delete(key.clone())]);
            self.commit(delete).await?;
        }
        took.sort_unstable();
        Ok(took[ROUNDS / 2])
    }

    /// Whether this program may read what lies beside its own: its rights go further than they need to.
    ///
    /// # Errors
    /// `Unreachable`.
    pub async fn sees_others(&self) -> Result<bool, StoreError> {
        // The first key that there is.
        let options = etcd_client::GetOptions::new().with_range("\0").with_limit(1).with_keys_only();
        let asked = self.tries().attempt(self.client.kv_client().get("\0", Some(options))).await;
        match asked {
            Ok(_) => Ok(true),
            Err(StoreError::Refused { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}
