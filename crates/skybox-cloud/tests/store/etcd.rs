//! What only a store of many machines has: passwords and roles, certificates, members that hang.

use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Certificate, Identity, Permission, TlsOptions};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustix::process::{Signal, kill_process};
use skybox_cloud::store::{EtcdConfig, Op, Pace, Revision, Store, StoreError, Txn, follow};

use crate::member::Member;
use crate::stage::PATIENCE;

async fn in_time<V>(future: impl Future<Output = V>) -> V {
    tokio::time::timeout(PATIENCE, future).await.expect("it takes far less, if it does not hang")
}

async fn put(store: &dyn Store, key: &str, value: &str) -> Result<Revision, StoreError> {
    Ok(store.commit(Txn::of([Op::put(key, value)])).await?.revision)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_for_the_prefix_is_all_that_a_program_needs() {
    in_time(async {
        let member = Member::start(&["--auth-token-ttl", "1"]).await;
        let first = member.store().await;
        put(&first, "of/before", "1").await.unwrap();
        let mut operator = member.operator().await;
        for (user, role) in [("root", "root"), ("shop", "shop")] {
            operator.role_add(role).await.unwrap();
            operator.user_add(user, "secret", None).await.unwrap();
            operator.user_grant_role(user, role).await.unwrap();
        }
        let all = Permission::read_write("/skybox/store-test/").with_prefix();
        operator.role_grant_permission("shop", all).await.unwrap();
        operator.auth_enable().await.unwrap();
        let as_shop = |password: &str| EtcdConfig {
            user: Some(("shop".to_owned(), password.to_owned())),
            ..member.config()
        };
        let store = member.store_with(as_shop("secret")).await;
        put(&store, "of/a", "1").await.unwrap();
        let lease = store.grant(Duration::from_secs(60)).await.unwrap();
        store.commit(Txn::of([Op::put_on(lease.id, "of/b", "1")])).await.unwrap();
        store.renew(lease.id).await.unwrap();
        let mut watch = store.watch("of/", Revision(1)).await.unwrap();
        let mut seen = 0;
        while seen < 3 {
            seen += watch.next().await.unwrap().changes.len();
        }
        // What belongs to others, it cannot even read.
        let elsewhere = EtcdConfig { prefix: "/others/".to_owned(), ..as_shop("secret") };
        let refused = skybox_cloud::store::Etcd::connect(elsewhere).await.unwrap_err();
        assert!(
            matches!(&refused, StoreError::Refused { why } if why.contains("permission denied")),
            "{refused}"
        );
        let refused = skybox_cloud::store::Etcd::connect(as_shop("guess")).await.unwrap_err();
        assert!(
            matches!(&refused, StoreError::Refused { why } if why.contains("authentication failed")),
            "{refused}"
        );
        let refused = put(&first, "of/c", "1").await.unwrap_err();
        assert!(matches!(refused, StoreError::Refused { .. }), "{refused}");
        // Its token is good for a second without being used, and then it gets another for whatever it does first.
        // Sleeps because that is a matter of time.
        let pause = || tokio::time::sleep(Duration::from_millis(2_500));
        pause().await;
        let mut watch = store.watch("of/", Revision(1)).await.unwrap();
        pause().await;
        store.renew(lease.id).await.unwrap();
        pause().await;
        put(&store, "of/c", "1").await.unwrap();
        let mut seen = 0;
        while seen < 4 {
            seen += watch.next().await.unwrap().changes.len();
        }
        assert_eq!(store.list("of/").await.unwrap().entries.len(), 4);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_hangs_is_noticed_and_nothing_is_missed_when_it_goes_on() {
    in_time(async {
        let member = Member::start(&[]).await;
        let store = Arc::new(member.store().await);
        put(&*store, "own/a", "0").await.unwrap();
        let pace = Pace {
            first: Duration::from_millis(10),
            longest: Duration::from_millis(200),
            quiet: Duration::from_secs(4),
            jitter: || 1.0,
        };
        let followed = follow(&tokio::runtime::Handle::current(), store.clone(), "own/", pace);
        followed.at(Revision(0)).await;
        kill_process(member.pid(), Signal::STOP).unwrap();
        // It takes a moment until the last of its threads stands still.
        let failed = loop {
            if let Err(error) = store.list("own/").await {
                break error;
            }
        };
        assert!(matches!(&failed, StoreError::Unreachable { .. }), "{failed}");
        followed.in_trouble().await;
        kill_process(member.pid(), Signal::CONT).unwrap();
        let mut last = put(&*store, "own/a", "1").await;
        while let Err(StoreError::Unreachable { .. }) = last {
            last = put(&*store, "own/a", "1").await;
        }
        assert_eq!(followed.at(last.unwrap()).await.entries["own/a"].value, "1");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_no_certificate_is_not_let_in() {
    in_time(async {
        let directory = std::env::temp_dir().join(format!("skybox-etcd-certs-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &authority).unwrap();
        let file = |name: &str, pem: &str| {
            let path = directory.join(name);
            std::fs::write(&path, pem).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let files = [
            format!("--cert-file={}", file("node.pem", &certificate.pem())),
            format!("--key-file={}", file("node.key", &key.serialize_pem())),
            format!("--trusted-ca-file={}", file("authority.pem", &authority.pem())),
            "--client-cert-auth".to_owned(),
        ];
        let member = Member::start(&files.iter().map(String::as_str).collect::<Vec<_>>()).await;
        let trusting = TlsOptions::new().ca_certificate(Certificate::from_pem(authority.pem()));
        let named = trusting.clone().identity(Identity::from_pem(certificate.pem(), key.serialize_pem()));
        let with = |tls| EtcdConfig { tls: Some(tls), ..member.config() };
        let store = member.store_with(with(named)).await;
        put(&store, "own/a", "0").await.unwrap();
        assert_eq!(store.list("own/").await.unwrap().entries.len(), 1);
        for stranger in [with(trusting), with(TlsOptions::new())] {
            let refused = skybox_cloud::store::Etcd::connect(stranger).await.unwrap_err();
            assert!(
                matches!(refused, StoreError::Unreachable { .. } | StoreError::Refused { .. }),
                "{refused}"
            );
        }
        std::fs::remove_dir_all(&directory).unwrap();
    })
    .await;
}
