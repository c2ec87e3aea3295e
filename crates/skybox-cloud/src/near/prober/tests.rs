use super::*;

fn resource(address: &str, probe: Probe) -> Resource {
    let config = ResourceConfig { address: Some(address.to_owned()), probe: Some(probe) };
    Resource::of("db", &config)
}

#[test]
fn all_hosts_together_ask_no_more_often_than_is_said() {
    let least = Pace::new(|| 0.0);
    let most = Pace::new(|| 0.999);
    for (hosts, period_ms) in [(0, 1_000), (1, 1_000), (10, 1_000), (11, 1_100), (1_000, 100_000)] {
        assert_eq!(least.period(hosts), Duration::from_millis(period_ms), "{hosts} hosts");
        let per_second = f64::from(hosts) / least.period(hosts).mul_f64(least.stretch()).as_secs_f64();
        assert!(per_second <= 10.0, "{hosts} hosts ask {per_second} times a second");
        assert!(most.period(hosts).mul_f64(most.stretch()) <= least.period(hosts) * 3 / 2);
    }
    assert_eq!(least.period(u32::MAX), Duration::from_millis(100) * u32::MAX);
    for wrong in [|| f64::NAN, || 7.0, || -1.0] {
        let stretch = Pace::new(wrong).stretch();
        assert!((1.0..=1.5).contains(&stretch), "{stretch}");
    }
}

#[test]
fn a_probe_is_due_once_nothing_else_tells() {
    let now = Instant::now();
    let second = Duration::from_secs(1);
    let address = SocketAddr::from(([10, 0, 0, 5], 5432));
    let nobody: Look = [(address, None)].into();
    let mut watched = Watched::new(resource("10.0.0.5:5432", Probe::Tcp), now, 0.5);
    // First the kernel is asked; a look that was begun before the address was known says nothing.
    assert_eq!(watched.probe_due(second, second), None);
    watched.looked_at(Ok(&Look::new()), now);
    assert_eq!(watched.probe_due(second, second), None);
    watched.looked_at(Ok(&nobody), now);
    assert_eq!(watched.probe_due(second, second), Some(now + second / 2));
    // More hosts have come meanwhile, or most have gone.
    assert_eq!(watched.probe_due(second * 40, second), Some(now + second * 20));
    // One at a time.
    watched.probing(now, 1.25);
    assert_eq!(watched.probe_due(second, second), None);
    watched.answered(Err(Unknown::Refused { address }), now);
    assert_eq!(watched.figure().1, Err(Unknown::Refused { address }));
    assert_eq!(watched.probe_due(second * 4, second), Some(now + second * 5));
    // A connection tells: there is no need for some time.
    let reading = Reading { sure: Some(second), smoothed: second, connections: 1 };
    watched.looked_at(Ok(&[(address, Some(reading))].into()), now + second * 9);
    assert_eq!(watched.probe_due(second, second), Some(now + second * 12));
    assert_eq!(watched.figure().1.map(|figure| figure.samples), Ok(1));
    // One that is not sure does not, but where nothing is asked it is all there is.
    let unsure = Reading { sure: None, ..reading };
    watched.looked_at(Ok(&[(address, Some(unsure))].into()), now + second * 20);
    assert_eq!(watched.probe_due(second, second), Some(now + second * 12));
    let mut alone = Watched::new(resource("10.0.0.5:5432", Probe::None), now, 0.5);
    alone.looked_at(Ok(&[(address, Some(unsure))].into()), now);
    assert_eq!(alone.figure().1.map(|figure| figure.round_trip), Ok(second));
    let mut never = Watched::new(resource("10.0.0.5:5432", Probe::None), now, 0.5);
    never.looked_at(Ok(&nobody), now);
    assert_eq!(never.probe_due(second, second), None);
    assert_eq!(never.figure().1, Err(Unknown::NoConnections));
    // The kernel refuses to tell: whoever may not ask says so, and probes are made.
    let refused = io::Error::from(io::ErrorKind::PermissionDenied);
    never.looked_at(Err(&refused), now);
    assert_eq!(never.figure().1, Err(Unknown::Kernel { why: refused.to_string().into() }));
    let mut asks = Watched::new(resource("10.0.0.5:5432", Probe::Tcp), now, 0.0);
    asks.looked_at(Err(&refused), now);
    assert_eq!(asks.probe_due(second, second), Some(now));
}

#[test]
fn a_name_keeps_its_addresses_while_nobody_tells_others() {
    let now = Instant::now();
    let wait = Duration::from_secs(5);
    let mut watched = Watched::new(resource("db.example:5432", Probe::Tcp), now, 0.0);
    assert_eq!(watched.resolving(now), Some(("db.example".to_owned(), 5432)));
    assert_eq!(watched.resolving(now), None);
    // A resolver that does not answer is no reason to ask another time.
    watched.grows_older(now + wait, wait, wait);
    let text = watched.figure().1.unwrap_err().to_string();
    assert_eq!(text, "`db.example` could not be resolved: no answer within 5s");
    assert_eq!(watched.resolving(now + wait * 9), None);
    let refused = || Err(io::Error::other("no such name"));
    assert!(!watched.resolved(refused(), now, wait * 6));
    let text = watched.figure().1.unwrap_err().to_string();
    assert_eq!(text, "`db.example` could not be resolved: no such name");
    assert_eq!(watched.resolving(now + Duration::from_secs(1)), None);
    assert!(watched.resolving(now + Duration::from_secs(2)).is_some());
    // One that is written in two ways is one; those beyond the eighth do not count.
    let numbered = |number: u8| SocketAddr::from(([10, 0, 0, number], 5432));
    let mapped = SocketAddr::new(std::net::Ipv4Addr::new(10, 0, 0, 1).to_ipv6_mapped().into(), 5432);
    let found: Vec<_> = [mapped].into_iter().chain((1..20).map(numbered)).collect();
    assert!(watched.resolved(Ok(found.clone()), now, wait));
    assert_eq!(watched.addresses, (1..9).map(numbered).collect::<Vec<_>>());
    assert!(!watched.resolved(Ok(found), now, wait));
    assert!(!watched.resolved(refused(), now, wait));
    assert!(!watched.resolved(Ok(vec![]), now, wait));
    assert_eq!(watched.addresses.len(), 8);
}
