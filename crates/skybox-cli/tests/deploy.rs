//! What `deploy/` and the chapter on many machines tell a node is what a node's configuration knows: each variable and each
//! path of the admin address, as the files have them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use skybox_node::config::Config;

const COMPOSE: &str = include_str!("../../../deploy/compose.yaml");
const KUBERNETES: &str = include_str!("../../../deploy/kubernetes.yaml");
const DOCKERFILE: &str = include_str!("../../../deploy/Dockerfile");
const BALANCER: &str = include_str!("../../../deploy/haproxy.cfg");
const CHAPTER: &str = include_str!("../../../docs/from-one-machine-to-many.md");
const ALERTS: &str = include_str!("../../../deploy/alerts.yaml");
const PLACEMENT: &str = include_str!("../../../docs/placement.md");

/// Variables that are read beside the configuration.
const BESIDE: [&str; 3] = ["SKYBOX_PROGRAM", "SKYBOX_VERSION", "SKYBOX_CONFIG"];
/// What the admin address serves.
const PATHS: [&str; 3] = ["/readyz", "/livez", "/metrics"];

type Variables = BTreeMap<String, String>;

/// The configuration of a node with these variables. What it does not know is a failure, though it would be let pass in the
/// environment of a program, where others may have put it.
#[track_caller]
fn config(variables: &Variables) -> Config {
    for name in variables.keys().filter(|name| name.starts_with("SKYBOX_")) {
        let is_short = name == "SKYBOX_STORE";
        assert!(name.contains("__") || is_short || BESIDE.contains(&name.as_str()), "nobody reads {name}");
        let section = name.trim_start_matches("SKYBOX_").split("__").next().unwrap_or_default();
        let sections = ["NODE", "STORE", "TLS", "LISTENERS", "ADMIN", "MODULES", "RESOURCES", "TRACE"];
        assert!(
            BESIDE.contains(&name.as_str()) || sections.contains(&section),
            "there is no section for {name}"
        );
    }
    let mut config = Config::default();
    config.override_with(variables.clone()).unwrap_or_else(|error| panic!("{error}"));
    config
}

/// It is one node of several: it has a store, an address, certificates, and an admin port.
#[track_caller]
fn is_a_node(variables: &Variables, name: &str, at: &str) {
    let config = config(variables);
    let store = config.store().expect("it belongs together").expect("it is told where etcd is");
    assert_eq!(store.members().len(), 3);
    assert_eq!(config.node().name.as_deref(), Some(name));
    assert_eq!(config.node().advertise.as_deref(), Some(at));
    let (listen, _) = config.node().listen.clone().expect("it listens for others");
    assert_eq!(port(&listen), port(at), "it is found where it listens");
    assert!(config.tls().expect("all three are there").is_some(), "other machines can connect");
    assert_eq!(config.admin().map(port), Some("9600"));
    assert!(config.listener("http").address.is_some(), "beyond 127.0.0.1, where nobody could reach it");
}

fn port(address: &str) -> &str {
    address.rsplit(':').next().expect("a text has parts")
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Seconds, as in `90s`.
fn seconds(value: &Value) -> u64 {
    let text = text(value);
    text.trim_end_matches('s').parse().unwrap_or_else(|_| panic!("{text} is no time in seconds"))
}

#[test]
fn every_node_of_the_compose_file_can_start() {
    let file: Value = serde_saphyr::from_str(COMPOSE).expect("it is YAML");
    let services = file["services"].as_object().expect("services by name");
    let nodes: Vec<_> = services.iter().filter(|(name, _)| name.starts_with("shop-")).collect();
    assert_eq!(nodes.len(), 3);
    for (name, service) in nodes {
        let variables = service["environment"].as_object().expect("variables by name");
        let variables = variables.iter().map(|(name, value)| (name.clone(), text(value))).collect();
        is_a_node(&variables, name, &format!("{name}:7600"));
        assert!(seconds(&service["stop_grace_period"]) > skybox_node::DRAIN_MAX.as_secs() + 10);
        for network in service["networks"].as_array().expect("a list") {
            assert!(!file["networks"][text(network)].is_null(), "there is no network {network}");
        }
        assert!(BALANCER.contains(&format!("server {name} {name}:8080")), "{name} gets no requests");
        let store = &variables_of(service)["SKYBOX_STORE"];
        let members = services.keys().filter(|name| name.starts_with("etcd-"));
        assert!(
            members.clone().count() == 3
                && members.clone().all(|member| store.contains(&format!("{member}:2379")))
        );
    }
}

fn variables_of(service: &Value) -> Variables {
    let variables = service["environment"].as_object().expect("variables by name");
    variables.iter().map(|(name, value)| (name.clone(), text(value))).collect()
}

#[test]
fn every_pod_can_start_and_is_given_the_time_to_end() {
    let all: Vec<Value> = serde_saphyr::from_multiple(KUBERNETES).expect("it is YAML");
    let of =
        |kind: &str| all.iter().find(|object| object["kind"] == kind).unwrap_or_else(|| panic!("no {kind}"));
    for object in &all {
        assert!(object["apiVersion"].is_string() && object["metadata"]["name"].is_string(), "{object}");
    }
    let pod = &of("Deployment")["spec"]["template"];
    let container = &pod["spec"]["containers"][0];
    let mut variables = Variables::new();
    for variable in container["env"].as_array().expect("a list") {
        let value = match variable["valueFrom"]["fieldRef"]["fieldPath"].as_str() {
            Some("metadata.name") => "shop-6d4cf56db6-x7x2p".to_owned(),
            Some("status.podIP") => "10.1.2.3".to_owned(),
            Some("spec.nodeName") => "worker-1".to_owned(),
            Some(other) => panic!("nothing is known of {other}"),
            None => {
                // As the kubelet does: what stands before it in the list.
                let known =
                    variables.iter().map(|(name, value): (&String, &String)| (format!("$({name})"), value));
                known.fold(text(&variable["value"]), |text, (name, value)| text.replace(&name, value))
            }
        };
        variables.insert(text(&variable["name"]), value);
    }
    is_a_node(&variables, "shop-6d4cf56db6-x7x2p", "10.1.2.3:7600");

    let ports = container["ports"].as_array().expect("a list");
    let number =
        |name: &str| ports.iter().find(|port| port["name"] == name).map(|port| port["containerPort"].clone());
    assert_eq!((number("admin"), number("node")), (Some(9600.into()), Some(7600.into())));
    for (probe, path) in
        [("startupProbe", "/readyz"), ("readinessProbe", "/readyz"), ("livenessProbe", "/livez")]
    {
        let asks = &container[probe]["httpGet"];
        assert_eq!((&asks["path"], &asks["port"]), (&Value::from(path), &Value::from("admin")), "{probe}");
    }
    let pause = seconds(&container["lifecycle"]["preStop"]["sleep"]["seconds"]);
    let grace = seconds(&pod["spec"]["terminationGracePeriodSeconds"]);
    assert!(grace > pause + skybox_node::DRAIN_MAX.as_secs() + 10, "a drain, and the end of `main`");

    let labels = &pod["metadata"]["labels"];
    let constraints = pod["spec"]["topologySpreadConstraints"].as_array().expect("a list");
    let selected = constraints.iter().map(|constraint| &constraint["labelSelector"]["matchLabels"]);
    let budget = &of("PodDisruptionBudget")["spec"]["selector"]["matchLabels"];
    let services =
        all.iter().filter(|object| object["kind"] == "Service").map(|service| &service["spec"]["selector"]);
    for selector in selected.chain([budget]).chain(services) {
        assert_eq!(selector, labels, "it selects the pods");
    }
    let attributes = pod["spec"]["volumes"].as_array().expect("a list").iter();
    let attributes = attributes.map(|volume| &volume["csi"]["volumeAttributes"]).find(|them| !them.is_null());
    let attributes = attributes.expect("a certificate for each pod");
    assert_eq!(attributes["csi.cert-manager.io/uri-sans"], "spiffe://shop/node/${POD_NAME}");
    let usages = text(&attributes["csi.cert-manager.io/key-usages"]);
    assert!(usages.contains("server auth") && usages.contains("client auth"), "{usages}");
}

#[test]
fn whoever_is_woken_finds_the_metric_in_the_docs_and_the_other_way_round() {
    let file: Value = serde_saphyr::from_str(ALERTS).expect("it is YAML");
    let rules: Vec<_> = file["groups"][0]["rules"].as_array().expect("a list").iter().collect();
    let metrics = |text: &str| -> BTreeSet<String> {
        let words = text.split(|char: char| !(char.is_ascii_lowercase() || char == '_'));
        let words = words.filter(|word| word.starts_with("skybox_"));
        words.map(|word| word.trim_end_matches("_bucket").to_owned()).collect()
    };
    let mut asked = BTreeSet::new();
    for rule in &rules {
        assert!(rule["alert"].is_string() && rule["annotations"]["summary"].is_string(), "{rule}");
        assert!(["page", "ticket"].contains(&text(&rule["labels"]["severity"]).as_str()), "{rule}");
        let of = metrics(&text(&rule["expr"]));
        assert_eq!(of.len(), 1, "{rule}");
        asked.extend(of);
    }
    // Rows of the table: the metric, what it is, the alarm.
    let rows = PLACEMENT.lines().filter(|line| line.starts_with("| `skybox_"));
    let cells = rows.map(|row| row.split('|').map(str::trim).collect::<Vec<_>>());
    let with_alarm = cells.filter(|cells| cells[3] != "–" && !cells[3].starts_with("the same"));
    let told: BTreeSet<_> = with_alarm.flat_map(|cells| metrics(cells[1])).collect();
    assert_eq!(asked, told);
}

#[test]
fn what_else_is_shown_is_known_as_well() {
    let image = DOCKERFILE.split_whitespace().filter_map(|word| word.split_once('='));
    let image: Variables = image
        .filter(|(name, _)| name.starts_with("SKYBOX_"))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    assert_eq!(image.len(), 3, "{image:?}");
    config(&image);
    let lines =
        CHAPTER.lines().filter(|line| line.starts_with("SKYBOX_")).filter_map(|line| line.split_once('='));
    let shown: Variables = lines.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    is_a_node(&shown, "a", "10.0.0.1:7600");
    for file in [CHAPTER, BALANCER] {
        let asked =
            file.lines().filter_map(|line| line.split_once("httpchk GET ")).map(|(_, path)| path.trim());
        let asked: Vec<_> = asked.collect();
        assert!(!asked.is_empty() && asked.iter().all(|path| PATHS.contains(path)), "{asked:?}");
    }
}
