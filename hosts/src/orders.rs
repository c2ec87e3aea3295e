//! What whoever looks at the hosts may type.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use skybox_hosts::{EtcdCluster, Hosts};

pub(crate) const ORDERS: &str = "\
cut HOST [HOST]          cuts it off from all others, or these two from each other
heal HOST [HOST]         undoes that
drop HOST PERCENT        loses so many of its packets; 0 ends it
delay HOST [HOST] MS     delays what it and others, or these two, send each other, in each direction
leader                   which member of etcd leads
kill|stop|start|pause|resume HOST   the member of etcd there";

/// Does what a line says, and says what was done.
pub(crate) fn carry_out(line: &str, hosts: &Hosts, etcd: Option<&EtcdCluster>) -> Result<String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let etcd = || etcd.context("there is no etcd");
    match words.as_slice() {
        [] => return Ok(String::new()),
        ["cut", host] => hosts.cut(number(host)?)?,
        ["cut", one, other] => hosts.cut_between(number(one)?, number(other)?)?,
        ["heal", host] => hosts.heal(number(host)?)?,
        ["heal", one, other] => hosts.heal_between(number(one)?, number(other)?)?,
        ["drop", host, percent] => hosts.drop_at_random(number(host)?, number(percent)?)?,
        ["delay", host, ms] => hosts.delay(number(host)?, milliseconds(ms)?)?,
        ["delay", one, other, ms] => hosts.delay_between(number(one)?, number(other)?, milliseconds(ms)?)?,
        ["leader"] => {
            let leader = etcd()?.leader();
            return Ok(leader.map_or("none".to_owned(), |host| format!("host {host}")));
        }
        ["kill", host] => etcd()?.kill(number(host)?)?,
        ["stop", host] => etcd()?.stop(number(host)?)?,
        ["start", host] => etcd()?.start_again(number(host)?)?,
        ["pause", host] => etcd()?.pause(number(host)?)?,
        ["resume", host] => etcd()?.resume(number(host)?)?,
        _ => bail!("what is known:\n{ORDERS}"),
    }
    Ok("done".to_owned())
}

fn number<T: std::str::FromStr>(word: &str) -> Result<T> {
    word.parse().ok().with_context(|| format!("`{word}` is no number that is possible here"))
}

fn milliseconds(word: &str) -> Result<Duration> {
    number(word.trim_end_matches("ms")).map(Duration::from_millis)
}
