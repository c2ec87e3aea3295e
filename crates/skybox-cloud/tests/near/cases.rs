use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use skybox_cloud::near::{
    Endpoint, Measured, Method, Pace, Probe, Prober, RESOURCES_MAX, Resource, TooMany, Unknown, Wait,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// It takes far less, if it does not hang.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn resource(address: SocketAddr, probe: Probe) -> Resource {
    named(&address.ip().to_string(), address.port(), probe)
}

fn named(host: &str, port: u16, probe: Probe) -> Resource {
    let endpoint = Some(Endpoint { host: host.to_owned(), port });
    Resource { name: "db".to_owned(), endpoint, probe }
}

/// Fifty times as fast as usual.
pub(crate) fn pace() -> Pace {
    Pace { every: Duration::from_millis(20), per_second: 50, ..Pace::new(|| 0.5) }
}

pub(crate) fn prober(resource: Resource, pace: Pace) -> Prober {
    Prober::start(&tokio::runtime::Handle::current(), [resource], 1, pace).expect("that is one")
}

/// Waits until what is known of the resource is so.
pub(crate) async fn known(
    prober: &Prober,
    is_so: impl Fn(&Result<Measured, Unknown>) -> bool,
) -> Result<Measured, Unknown> {
    let waited = tokio::time::timeout(PATIENCE, prober.when("db", is_so)).await;
    waited.unwrap_or_else(|_| panic!("it remains so: {:?}", prober.measured("db")))
}

pub(crate) fn is_by_kernel(known: &Result<Measured, Unknown>) -> bool {
    known.as_ref().is_ok_and(|measured| matches!(measured.method, Method::Kernel { .. }))
}

fn is_by(method: Method) -> impl Fn(&Result<Measured, Unknown>) -> bool {
    move |known| known.as_ref().is_ok_and(|measured| measured.method == method)
}

fn local() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// What is done with each connection, which has sent eight bytes.
fn serve<F>(listener: TcpListener, mut answer: impl FnMut(TcpStream, [u8; 8]) -> F + Send + 'static)
where
    F: Future<Output = ()> + Send + 'static,
{
    listener.set_nonblocking(true).unwrap();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut question = [0; 8];
            if stream.read_exact(&mut question).await.is_ok() {
                tokio::spawn(answer(stream, question));
            }
        }
    });
}

/// The text of what is not known.
async fn unknown(resource: Resource, wait: Wait) -> String {
    let prober = prober(resource, Pace { wait, ..pace() });
    let not_known = known(&prober, |known| *known != Err(Unknown::NotYet)).await;
    not_known.expect_err("there is nothing to measure").to_string()
}

fn short() -> Wait {
    let short = Duration::from_millis(300);
    Wait { name: Duration::from_secs(20), connect: short, answer: short }
}

#[tokio::test]
async fn a_connection_in_use_tells_and_without_one_a_probe_asks() {
    let (listener, address) = local();
    let mut used = TcpStream::connect(address).await.unwrap();
    let (far, _) = listener.accept().unwrap();
    far.set_nonblocking(true).unwrap();
    let mut far = TcpStream::from_std(far).unwrap();
    let using = tokio::spawn(async move {
        let mut buffer = [0; 64];
        loop {
            used.write_all(&buffer).await.unwrap();
            far.read_exact(&mut buffer).await.unwrap();
            far.write_all(&buffer).await.unwrap();
            used.read_exact(&mut buffer).await.unwrap();
        }
    });

    let prober = prober(resource(address, Probe::Tcp), pace());
    let measured = known(&prober, is_by_kernel).await.unwrap();
    assert_eq!(measured.method, Method::Kernel { connections: 1 });
    assert!(measured.samples >= 1 && !measured.round_trip.is_zero(), "{measured:?}");
    assert_eq!(prober.all().keys().collect::<Vec<_>>(), ["db"]);
    assert_eq!(prober.measured("cache"), Err(Unknown::NoResource));
    using.abort();
    let measured = known(&prober, is_by(Method::Tcp)).await.unwrap();
    assert!(!measured.round_trip.is_zero(), "{measured:?}");
    assert!(listener.accept().is_ok());
}

#[tokio::test]
async fn any_address_of_a_name_is_looked_for_and_asked() {
    // `localhost` may have one of IPv6 as well, where nobody listens.
    let (listener, address) = local();
    let by_probe = prober(named("localhost", address.port(), Probe::Tcp), pace());
    known(&by_probe, is_by(Method::Tcp)).await.unwrap();
    drop(by_probe);
    let (other, address) = local();
    let mut used = TcpStream::connect(address).await.unwrap();
    used.write_all(&[0; 64]).await.unwrap();
    let by_kernel = prober(named("localhost", address.port(), Probe::None), pace());
    known(&by_kernel, is_by_kernel).await.unwrap();
    drop((listener, other));
}

#[tokio::test]
async fn a_late_server_is_far_for_what_needs_its_answer() {
    const LATE: Duration = Duration::from_millis(200);
    let (listener, address) = local();
    serve(listener, |mut stream, _| async move {
        // Sleeps because that it is late is what is measured.
        tokio::time::sleep(LATE).await;
        drop(stream.write_all(b"N").await);
    });
    let asks = prober(resource(address, Probe::Postgres), pace());
    let connects = prober(resource(address, Probe::Tcp), pace());
    // More than it takes for another method to count: the probes' own connections are none of the program's.
    let many = |known: &Result<Measured, Unknown>| known.as_ref().is_ok_and(|measured| measured.samples >= 6);
    let (asked, connected) = (known(&asks, many).await.unwrap(), known(&connects, many).await.unwrap());
    assert_eq!((asked.method, connected.method), (Method::Postgres, Method::Tcp));
    assert!(asked.round_trip >= LATE, "{asked:?}");
    // By the kernel, which is late for nobody.
    assert!(connected.round_trip < LATE, "{connected:?}");
}

#[tokio::test]
async fn a_server_that_knows_the_older_question_alone_is_asked_that() {
    let (listener, address) = local();
    serve(listener, |mut stream, question| async move {
        if question == [0, 0, 0, 8, 4, 0xd2, 0x16, 0x2f] {
            drop(stream.write_all(b"S").await);
        }
    });
    let prober = prober(resource(address, Probe::Postgres), pace());
    known(&prober, is_by(Method::Postgres)).await.unwrap();
}

#[tokio::test]
async fn what_does_not_answer_is_neither_near_nor_far() {
    let (listener, address) = local();
    assert_eq!(
        unknown(resource(address, Probe::Postgres), short()).await,
        format!("{address} has accepted a connection, but not answered over it within 300ms")
    );
    assert_eq!(
        unknown(resource(address, Probe::None), short()).await,
        "this program has no connection to it that is in use, and `probe = \"none\"` asks nothing"
    );
    drop(listener);
    assert_eq!(
        unknown(resource(address, Probe::Tcp), short()).await,
        format!("{address} refuses connections")
    );

    let (listener, address) = local();
    serve(listener, |mut stream, _| async move { drop(stream.write_all(b"HTTP/1.1 400").await) });
    assert_eq!(
        unknown(resource(address, Probe::Postgres), short()).await,
        format!("what answers at {address} is not Postgres; `probe = \"tcp\"` asks only to be connected to")
    );

    let (listener, address) = local();
    serve(listener, |stream, _| async move { drop(stream) });
    assert_eq!(
        unknown(resource(address, Probe::Postgres), short()).await,
        format!("{address} has closed the connection instead of answering")
    );

    let text = unknown(named("db.invalid", 5432, Probe::Tcp), short()).await;
    assert!(text.starts_with("`db.invalid` could not be resolved: "), "{text}");
    let nowhere = Resource { name: "db".to_owned(), endpoint: None, probe: Probe::Tcp };
    assert_eq!(
        unknown(nowhere, short()).await,
        "its address names no host and port, so there is no distance to measure"
    );
}

#[tokio::test]
async fn what_swallows_packets_is_neither_near_nor_far() {
    use rustix::net::{AddressFamily, SocketType};
    // Once as many wait to be accepted as may, the kernel answers to no packet of another.
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    rustix::net::bind(&socket, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    rustix::net::listen(&socket, 0).unwrap();
    let listener = TcpListener::from(socket);
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    while let Ok(stream) = std::net::TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
        waiting.push(stream);
    }
    assert_eq!(
        unknown(resource(address, Probe::Tcp), short()).await,
        format!("{address} has not answered to an attempt to connect within 300ms")
    );
}

#[tokio::test]
async fn the_last_figure_stays_until_it_is_too_old() {
    let (listener, address) = local();
    let forget = Duration::from_millis(700);
    let prober = prober(resource(address, Probe::Tcp), Pace { forget, ..pace() });
    let first = known(&prober, Result::is_ok).await.unwrap();
    assert_eq!((first.method, first.samples >= 1), (Method::Tcp, true));
    drop(listener);
    // Whatever was measured before is forgotten, and the reason is told.
    let refused = known(&prober, Result::is_err).await;
    assert_eq!(refused, Err(Unknown::Refused { address }));
    let listener = TcpListener::bind(address).unwrap();
    known(&prober, Result::is_ok).await.unwrap();
    drop(listener);
}

#[tokio::test]
async fn no_more_resources_are_measured_than_is_said() {
    let resource = resource(local().1, Probe::Tcp);
    let many = std::iter::repeat_n(resource, RESOURCES_MAX + 1);
    let refused = Prober::start(&tokio::runtime::Handle::current(), many, 1, pace()).unwrap_err();
    assert_eq!(refused, TooMany { count: RESOURCES_MAX + 1 });
    assert_eq!(refused.to_string(), "65 resources are to be measured; the most are 64");
}
