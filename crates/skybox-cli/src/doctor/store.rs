//! Etcd: each of its members, what they agree on, and what this program may do there.

use std::time::Duration;

use skybox_cloud::store::{Etcd, EtcdConfig, MemberStatus, StoreError};
use skybox_core::TextChain;
use skybox_node::config::StoreConfig;

use super::finding::{Findings, Level};

const ABOUT: &str = "etcd";
/// What a database may become if nobody says otherwise (`--quota-backend-bytes`).
const QUOTA_BYTES: u64 = 2 << 30;
/// A database that takes more of its quota than this should be seen to, in percent.
const FULL_PERCENT: u64 = 75;
/// A database below is not worth defragmenting.
const SMALL_BYTES: u64 = 128 << 20;
/// A transaction that takes longer says that a disk, or the way there, is slow.
const SLOW: Duration = Duration::from_millis(100);

/// Looks at it; the store, if this program can use it.
pub(super) async fn look(store: &StoreConfig, program: &str, findings: &mut Findings) -> Option<Etcd> {
    let config = match EtcdConfig::of(store, program) {
        Ok(config) => config,
        Err(error) => {
            findings.add(Level::Error, ABOUT, TextChain::of(&error).joined());
            return None;
        }
    };
    judge(&config.members_status().await, findings);
    findings.add(
        Level::Ok,
        ABOUT,
        format!(
            "what it cannot be asked for: --auto-compaction-retention has to be set, such as 1h, or it grows until it is full; \
             --election-timeout has to stay well below the lease of a node ({:?}), as its 1s does",
            store.lease()
        ),
    );
    let etcd = match Etcd::connect(config.clone()).await {
        Ok(etcd) => etcd,
        Err(error) => {
            findings.add(Level::Error, ABOUT, refused(store, program, &config.prefix, &error));
            return None;
        }
    };
    match etcd.try_out().await {
        Ok(took) if took > SLOW => findings.add(
            Level::Warning,
            ABOUT,
            format!(
                "a transaction takes {took:.1?}: look at its disks \
                (etcd_disk_wal_fsync_duration_seconds) and the way there"
            ),
        ),
        Ok(took) => {
            findings.add(
                Level::Ok,
                ABOUT,
                format!("{} is read and written; a transaction takes {took:.1?}", config.prefix),
            );
        }
        Err(error) => findings.add(Level::Error, ABOUT, refused(store, program, &config.prefix, &error)),
    }
    rights(store, &etcd, findings).await;
    Some(etcd)
}

/// Whether others can do to this program what it can do itself.
async fn rights(store: &StoreConfig, etcd: &Etcd, findings: &mut Findings) {
    if !matches!(etcd.sees_others().await, Ok(true)) {
        return;
    }
    let says = match store.user() {
        Some(user) => {
            format!("{user} may read what is not this program's: a role for its prefix is enough")
        }
        None => "it asks for no password: whoever reaches it can do everything to this program. A user with a role for its \
                 prefix keeps programs apart"
            .to_owned(),
    };
    findings.add(Level::Warning, ABOUT, says);
}

fn refused(store: &StoreConfig, program: &str, prefix: &str, error: &StoreError) -> String {
    let why = TextChain::of(error).joined();
    match (error, store.user()) {
        (StoreError::Refused { .. }, Some(user)) => format!(
            "{user} may not use {prefix}: {why}. `etcdctl role grant-permission {user} \
                --prefix=true readwrite {prefix}` lets it"
        ),
        (StoreError::Refused { .. }, None) => {
            format!(
                "{program} may not use {prefix}: {why}. If it wants a password: `[store] user` and \
                    `password-file`"
            )
        }
        _ => format!(
            "{store} cannot be used: {why}. Look whether it runs, and whether this machine may \
                connect there"
        ),
    }
}

/// Judges what the members say.
fn judge(members: &[(String, Result<MemberStatus, StoreError>)], findings: &mut Findings) {
    let answers: Vec<_> =
        members.iter().filter_map(|(at, status)| Some((at, status.as_ref().ok()?))).collect();
    // Who refuses to say anything answers, too.
    let is_silent =
        |status: &Result<_, _>| matches!(status, Err(error) if !matches!(error, StoreError::Refused { .. }));
    let silent = members.iter().filter(|(_, status)| is_silent(status)).count();
    for (at, status) in members {
        let Err(error) = status else { continue };
        let why = TextChain::of(error).joined();
        if matches!(error, StoreError::Refused { .. }) {
            findings.add(Level::Warning, ABOUT, format!("{at} does not say how it is ({why})"));
            continue;
        }
        let (level, then) = match silent * 2 < members.len() {
            true => {
                (Level::Warning, "the others go on without it; another one, and nothing is placed any more")
            }
            false => (Level::Error, "without most of its members nothing can be placed"),
        };
        findings.add(level, ABOUT, format!("{at} does not answer ({why}): {then}"));
    }
    for (at, status) in &answers {
        member(at, status, findings);
    }
    let Some((_, first)) = answers.first() else { return };
    if answers.iter().any(|(_, status)| status.leader == 0 || status.leader != first.leader) {
        let says = "its members do not agree who leads: they may not reach each other. Nothing can \
            be placed until they do";
        findings.add(Level::Error, ABOUT, says);
    } else if let Some((at, _)) = answers.iter().find(|(_, status)| status.id == first.leader) {
        findings.add(Level::Ok, ABOUT, format!("{at} leads"));
    }
    match members.len() {
        1 => findings.add(
            Level::Warning,
            ABOUT,
            "one member is named: while it is down nothing is placed. Have three, and name them all \
                in SKYBOX_STORE",
        ),
        2 => findings.add(
            Level::Warning,
            ABOUT,
            "two members are named: with two, none may be down. Have three, and name them all in \
                SKYBOX_STORE",
        ),
        _ => {}
    }
}

fn member(at: &str, status: &MemberStatus, findings: &mut Findings) {
    let MemberStatus { version, database_bytes, used_bytes, .. } = status;
    let mut wrong = Vec::new();
    match verdict(version) {
        Some((level, why)) => wrong.push((level, why.to_owned())),
        None if status.is_learner => {
            wrong.push((Level::Warning, "it does not vote yet: `etcdctl member promote`".to_owned()));
        }
        None => {}
    }
    if !status.out_of_space.is_empty() {
        let says = "its database is full, and nothing is written any more: compact and defragment it, raise \
                    --quota-backend-bytes, then `etcdctl alarm disarm`";
        wrong.push((Level::Error, says.to_owned()));
    }
    if !status.corrupt.is_empty() {
        wrong.push((Level::Error, "the data of its members differ: replace the corrupt one".to_owned()));
    }
    wrong.extend(status.errors.iter().map(|error| (Level::Warning, format!("it complains: {error}"))));
    let quota = status.quota_bytes.unwrap_or(QUOTA_BYTES);
    if *used_bytes > quota / 100 * FULL_PERCENT {
        let says = format!(
            "{} of {} are in use: compact it, or raise --quota-backend-bytes",
            size(*used_bytes),
            size(quota)
        );
        wrong.push((Level::Warning, says));
    } else if *database_bytes > SMALL_BYTES && *database_bytes / 2 > *used_bytes {
        let says = format!(
            "its database has {} and uses {}: `etcdctl defrag`",
            size(*database_bytes),
            size(*used_bytes)
        );
        wrong.push((Level::Warning, says));
    }
    if wrong.is_empty() {
        let says =
            format!("{at} is well: version {version}, {} of at most {}", size(*database_bytes), size(quota));
        findings.add(Level::Ok, ABOUT, says);
    }
    for (level, says) in wrong {
        findings.add(level, ABOUT, format!("{at} (version {version}): {says}"));
    }
}

/// What is wrong with a version, if anything is.
fn verdict(version: &str) -> Option<(Level, &'static str)> {
    let mut numbers = version.split(['.', '-', '+']).map(|number| number.parse::<u32>().ok());
    let mut next = || numbers.next().flatten();
    let (Some(major), Some(minor), Some(patch)) = (next(), next(), next()) else {
        return Some((Level::Warning, "no version that is known"));
    };
    match (major, minor, patch) {
        (3, 4, 25..) | (3, 5, 8..) | (3, 6.., _) => None,
        (3, 4.., _) => Some((
            Level::Warning,
            "watches and leases of this version have known faults: have 3.5.8, 3.4.25 or a later one",
        )),
        (..=3, ..) => Some((Level::Error, "it is too old: have 3.4.25, 3.5.8 or a later one")),
        _ => Some((Level::Warning, "nobody has tried this version yet")),
    }
}

fn size(bytes: u64) -> String {
    match bytes {
        0..0x10_0000 => format!("{} KiB", bytes.div_ceil(1 << 10)),
        _ => format!("{} MiB", bytes >> 20),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(id: u64) -> MemberStatus {
        MemberStatus {
            id,
            leader: 1,
            version: "3.5.21".to_owned(),
            database_bytes: 40 << 10,
            used_bytes: 30 << 10,
            quota_bytes: None,
            is_learner: false,
            errors: Vec::new(),
            out_of_space: Vec::new(),
            corrupt: Vec::new(),
        }
    }

    fn judged(members: Vec<Option<MemberStatus>>) -> Vec<(Level, String)> {
        let down = || StoreError::Unreachable { why: "nobody listens".to_owned(), may_have_run: false };
        let members = members.into_iter().zip(1..);
        let members: Vec<_> =
            members.map(|(status, n)| (format!("http://m{n}:2379"), status.ok_or_else(down))).collect();
        let mut findings = Findings::default();
        judge(&members, &mut findings);
        findings.of(ABOUT).into_iter().map(|(level, says)| (level, says.to_owned())).collect()
    }

    #[track_caller]
    fn finds(members: Vec<Option<MemberStatus>>, level: Level, says: &str) {
        let found = judged(members);
        assert!(
            found.iter().any(|(of, text)| *of == level && text.contains(says)),
            "{level:?} {says}: {found:#?}"
        );
    }

    #[test]
    fn three_that_are_well() {
        let found = judged(vec![Some(status(1)), Some(status(2)), Some(status(3))]);
        assert!(found.iter().all(|(level, _)| *level == Level::Ok), "{found:#?}");
        assert!(found.iter().any(|(_, says)| says == "http://m1:2379 leads"), "{found:#?}");
    }

    #[test]
    fn what_is_wrong_is_said_with_what_to_do() {
        let all = |change: &dyn Fn(&mut MemberStatus)| {
            let mut one = status(1);
            change(&mut one);
            vec![Some(one), Some(status(2)), Some(status(3))]
        };
        finds(vec![Some(status(1)), Some(status(2)), None], Level::Warning, "http://m3:2379 does not answer");
        finds(vec![Some(status(1)), None, None], Level::Error, "nothing can be placed");
        finds(vec![Some(status(1))], Level::Warning, "Have three");
        finds(vec![Some(status(1)), Some(status(2))], Level::Warning, "none may be down");
        finds(all(&|one| one.leader = 2), Level::Error, "do not agree who leads");
        finds(all(&|one| one.out_of_space = vec![1]), Level::Error, "etcdctl alarm disarm");
        finds(all(&|one| one.corrupt = vec![1]), Level::Error, "replace the corrupt one");
        finds(all(&|one| one.is_learner = true), Level::Warning, "member promote");
        finds(all(&|one| one.used_bytes = 1900 << 20), Level::Warning, "1900 MiB of 2048 MiB are in use");
        finds(all(&|one| one.database_bytes = 900 << 20), Level::Warning, "etcdctl defrag");
        finds(all(&|one| one.version = "3.4.23".to_owned()), Level::Warning, "have 3.5.8, 3.4.25");
        finds(all(&|one| one.version = "3.3.27".to_owned()), Level::Error, "too old");
    }

    #[test]
    fn versions() {
        for good in ["3.4.25", "3.5.8", "3.5.21", "3.6.0", "3.6.0-rc.1", "3.7.1"] {
            assert_eq!(verdict(good), None, "{good}");
        }
        for (bad, level) in [
            ("3.4.24", Level::Warning),
            ("3.5.0", Level::Warning),
            ("2.3.8", Level::Error),
            ("4.0.0", Level::Warning),
            ("", Level::Warning),
        ] {
            assert_eq!(verdict(bad).map(|(level, _)| level), Some(level), "{bad}");
        }
    }
}
