use clap::Parser;

use super::*;

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    args: UnitArgs,
}

/// A directory with a program in it, gone with the test.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Place {
        let directory = std::env::temp_dir().join(format!("skybox-unit-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("there is room for a directory");
        Place(directory)
    }

    fn file(&self, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).expect("there is room for a file");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("it is this user's");
        path
    }

    fn program(&self, name: &str) -> String {
        self.file(name, "#!/bin/sh\n", 0o755).to_str().expect("a text").to_owned()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What the command says, or why it refuses.
fn made(words: &[&str]) -> Result<String, String> {
    let all = std::iter::once("unit").chain(words.iter().copied());
    let args = Line::try_parse_from(all).map_err(|error| error.to_string())?.args;
    let made =
        executable(&args.program).and_then(|program| judge(&args).and_then(|()| text(&args, &program)));
    made.map_err(|error| format!("{error:#}"))
}

/// The value of a key that a unit has once.
#[track_caller]
fn value<'u>(unit: &'u str, key: &str) -> &'u str {
    let values: Vec<_> = unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).collect();
    assert_eq!(values.len(), 1, "{key} in {unit}");
    values[0]
}

#[test]
fn a_unit_has_what_a_node_needs() {
    let place = Place::new("needs");
    let program = place.program("shop");
    let unit = made(&[
        &program,
        "--user",
        "shop",
        "--store",
        "etcd://10.0.0.1:2379,10.0.0.2",
        "--listen",
        "0.0.0.0:7600",
        "--",
        "--greeting",
        "100% $HOME \"x\"",
    ])
    .expect("all is there");
    assert_eq!(value(&unit, "ExecStart"), format!("{program} --greeting \"100%% $$HOME \\\"x\\\"\""));
    assert!(unit.contains("\nEnvironment=SKYBOX_STORE=etcd://10.0.0.1:2379,10.0.0.2\n"), "{unit}");
    assert!(unit.contains("\nEnvironment=SKYBOX_NODE__LISTEN=0.0.0.0:7600\n"), "{unit}");
    for (key, expected) in [
        ("Type", "exec"),
        ("User", "shop"),
        ("Restart", "always"),
        ("StartLimitIntervalSec", "0"),
        ("KillSignal", "SIGTERM"),
        ("KillMode", "mixed"),
        ("TimeoutStopSec", "90s"),
        ("Delegate", "cpu memory"),
        ("OOMPolicy", "continue"),
        ("WantedBy", "multi-user.target"),
    ] {
        assert_eq!(value(&unit, key), expected, "{key}");
    }
    let longer = made(&[&program, "--user", "shop", "--store", "etcd://a", "--stop-timeout", "3m"]);
    assert_eq!(value(&longer.expect("all is there"), "TimeoutStopSec"), "180s");
}

#[test]
fn the_store_may_stand_in_a_file() {
    let place = Place::new("file");
    let program = place.program("shop");
    let variables = place.file("shop.env", "# where it is\nSKYBOX_STORE=\"etcd://a:2379\"\n", 0o600);
    let variables = variables.to_str().expect("a text");
    let unit =
        made(&[&program, "--user", "shop", "--environment-file", variables]).expect("it is in the file");
    assert_eq!(value(&unit, "EnvironmentFile"), variables);
    place.file("skybox.toml", "[store]\naddress = \"etcd://a\"\n", 0o600);
    let directory = place.0.to_str().expect("a text");
    let unit = made(&[&program, "--user", "shop", "--directory", directory]).expect("it is in the file");
    assert_eq!(value(&unit, "WorkingDirectory"), directory);
}

#[test]
fn mistakes_say_what_to_do() {
    let place = Place::new("mistakes");
    let program = place.program("shop");
    let text = place.file("notes.txt", "no program\n", 0o644);
    let (text, missing) = (text.to_str().expect("a text"), format!("{program}pe"));
    let etcd = ["--user", "shop", "--store", "etcd://a"];
    let with = |first: &str, more: &[&str]| {
        let words: Vec<_> = std::iter::once(first).chain(etcd).chain(more.iter().copied()).collect();
        made(&words).expect_err("it is wrong")
    };
    let wrong = [
        (with(&missing, &[]), "cargo build --release"),
        (with(text, &[]), "chmod +x"),
        (with("/", &[]), "no file that could be run"),
        (with(&program, &["--stop-timeout", "30s"]), "a drain may take 63s"),
        (with(&program, &["--environment", "SKYBOX_NODE__NICKNAME=x"]), "there is no key `nickname`"),
        (with(&program, &["--environment", "5=x"]), "write NAME=VALUE"),
        (with(&program, &["--environment-file", &missing]), "the unit would not start"),
        (made(&[&program, "--user", "shop"]).expect_err("no store"), "say --store etcd://"),
        (made(&[&program, "--user", "shop", "--store", "redis://a"]).expect_err("no etcd"), "scheme `redis`"),
        (made(&[&program, "--store", "etcd://a"]).expect_err("no user"), "--user"),
        (
            made(&[&program, "--user", "a b", "--store", "etcd://a"]).expect_err("no user"),
            "a name such as shop",
        ),
    ];
    for (said, expected) in wrong {
        assert!(said.contains(expected), "{expected}: {said}");
    }
}

/// Whatever words the program has: systemd reads the unit without a complaint. Where there is no systemd, the other tests
/// here have to do.
#[test]
fn systemd_has_nothing_to_say() {
    let place = Place::new("verify");
    let program = place.program("my 100% shop");
    let unit = made(&[
        &program,
        "--user",
        "root",
        "--store",
        "etcd://a:2379",
        "--listen",
        "0.0.0.0:7600",
        "--directory",
        "/tmp",
        "--environment",
        "GREETING=it's \"5$\" and 100%\tor so",
        "--",
        ";",
        "",
        "a\nb",
        "back\\slash",
        "%n",
        "${HOME}",
    ]);
    let path = place.file("my-shop.service", &unit.expect("all is there"), 0o644);
    let verified =
        std::process::Command::new("systemd-analyze").arg("verify").arg("--man=no").arg(&path).output();
    let verified = match verified {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
        verified => verified.expect("it can be run"),
    };
    let said = String::from_utf8_lossy(&verified.stderr);
    let of_it: Vec<_> = said.lines().filter(|line| line.contains("my-shop")).collect();
    assert!(verified.status.success() && of_it.is_empty(), "{said}");
}
