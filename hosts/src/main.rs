//! Makes hosts, does to them what is typed, and removes them at Ctrl-C: `cargo xtask hosts`.

mod orders;

use std::fmt::Display;
use std::io::Write as _;

use anyhow::Result;
use clap::Parser;
use skybox_hosts::{EtcdCluster, Hosts, Postgres};
use tokio::sync::mpsc;

/// Hosts out of network namespaces, with an etcd in the first three.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask hosts")]
struct Args {
    /// How many.
    #[arg(long, default_value_t = 5)]
    count: usize,
    /// Their network, 10.213.N.0/24; the first that is free if not given. From 200 on nobody else takes it.
    #[arg(long, value_name = "N")]
    network: Option<u8>,
    /// In which hosts etcd runs; it is an odd number of them.
    #[arg(long, value_delimiter = ',', default_value = "0,1,2")]
    etcd: Vec<usize>,
    /// Do without etcd.
    #[arg(long, conflicts_with = "etcd")]
    no_etcd: bool,
    /// A PostgreSQL in the last host.
    #[arg(long)]
    postgres: bool,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Asked for before anything is made, so that nothing is left by a Ctrl-C that comes early.
    let ended = runtime.block_on(async { told_to_end() })?;
    let hosts = match args.network {
        Some(network) => Hosts::on_network(network, args.count)?,
        None => Hosts::make(args.count)?,
    };
    let etcd = if args.no_etcd { None } else { Some(EtcdCluster::start(&hosts, args.etcd.iter().copied())?) };
    let postgres = if args.postgres { Some(Postgres::start(&hosts, args.count - 1)?) } else { None };
    println!("{}", told(&hosts, etcd.as_ref(), postgres.as_ref()));
    runtime.block_on(async {
        let mut lines = lines();
        let obey = async {
            while let Some(line) = lines.recv().await {
                let answer = orders::carry_out(&line, &hosts, etcd.as_ref());
                say(answer.unwrap_or_else(|error| format!("{error:#}")));
            }
            // Nobody types, as in CI.
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = ended => {}
            () = obey => {}
        }
    });
    say("removing them");
    Ok(())
}

/// Whoever has read so far may have gone.
fn say(line: impl Display) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// What is typed. Its thread ends with the process: nothing else ends a read from a terminal.
fn lines() -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                break;
            }
        }
    });
    lines
}

fn told(hosts: &Hosts, etcd: Option<&EtcdCluster>, postgres: Option<&Postgres>) -> String {
    let mut lines = vec![format!("{:<8}{:<16}run something in it", "host", "address")];
    for host in hosts {
        let runs = format!("ip netns exec {} bash", host.namespace());
        lines.push(format!("{:<8}{:<16}{runs}", host.index(), host.address().to_string()));
    }
    lines.push(format!("{:<8}{:<16}this machine", "–", hosts.machine().to_string()));
    if let Some(etcd) = etcd {
        lines.push(format!("etcd:     SKYBOX_STORE={}", etcd.endpoints()));
        lines.push(format!(
            "          etcdctl --endpoints {} endpoint status -w table",
            etcd.urls().join(",")
        ));
    }
    if let Some(postgres) = postgres {
        lines.push(format!("postgres: psql {}", postgres.url()));
    }
    lines.push(orders::ORDERS.to_owned());
    lines.push("Ctrl-C removes them.".to_owned());
    lines.join("\n")
}

/// Ends with SIGINT or SIGTERM, also with one that came before it is polled.
fn told_to_end() -> Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}
