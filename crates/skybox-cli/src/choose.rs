//! Which running program is meant.

use std::path::{Path, PathBuf};

use anyhow::bail;
use skybox_cloud::certs::AUTHORITY_CERTIFICATE;
use skybox_cloud::running::{Running, running, together};
use skybox_node::config::TlsFiles;

use crate::args::Which;

/// What is to be done with a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Nothing changes: the only running program is meant.
    Look,
    /// Something happens to it: in another program's directory the only running one is hardly meant.
    Change,
}

/// The program that is meant: the named one, the only one, or the one of this directory.
pub(crate) async fn choose(which: &Which, purpose: Purpose) -> anyhow::Result<Running> {
    if let (Some(at), Some(identity)) = (&which.at, &which.identity) {
        return Ok(Running::at(at, operator_files(identity))?);
    }
    let here = std::env::current_dir().map(|directory| names_of(&directory)).unwrap_or_default();
    let mut all = together(running()).await;
    let candidates: Vec<_> = all
        .iter()
        .map(|running| {
            let (program, pids) = (running.program.as_str(), running.pids());
            Candidate { program, pids, split: running.has_parent() }
        })
        .collect();
    let at = pick(&candidates, which.program.as_deref(), &here, purpose)?;
    let chosen = all.swap_remove(at);
    Ok(match &which.identity {
        Some(identity) => chosen.with_certificate(operator_files(identity)),
        None => chosen,
    })
}

/// The files that `skybox certs operator` has made.
pub(crate) fn operator_files(identity: &Path) -> TlsFiles {
    let with = |end: &str| {
        let mut path = identity.as_os_str().to_owned();
        path.push(end);
        PathBuf::from(path)
    };
    TlsFiles {
        authority: identity.with_file_name(AUTHORITY_CERTIFICATE),
        certificate: with(".pem"),
        key: with(".key"),
    }
}

/// A running program, as far as it matters here.
#[derive(Clone, Debug)]
struct Candidate<'r> {
    program: &'r str,
    pids: Vec<u32>,
    /// Whether it has a parent.
    split: bool,
}

/// Which one of them is meant.
fn pick(
    all: &[Candidate<'_>],
    named: Option<&str>,
    here: &[String],
    purpose: Purpose,
) -> anyhow::Result<usize> {
    let those = |fits: &dyn Fn(&Candidate<'_>) -> bool| -> Vec<usize> {
        (0..all.len()).filter(|at| fits(&all[*at])).collect()
    };
    let list = || all.iter().map(line).collect::<Vec<_>>().join("\n");
    if all.is_empty() {
        bail!("no program is running: start one with `skybox run` in its directory, or with `cargo run`");
    }
    let Some(named) = named else {
        let own = those(&|candidate| here.iter().any(|name| name == candidate.program));
        return match (all, own.as_slice()) {
            (_, [own]) => Ok(*own),
            ([_], _) if purpose == Purpose::Look || here.is_empty() => Ok(0),
            ([_], _) => bail!(
                "this directory's program is not running; say --program if you mean another\n{}",
                list()
            ),
            _ => bail!(
                "several programs are running; choose one with --program NAME or --program PID\n{}",
                list()
            ),
        };
    };
    let found = those(&|candidate| {
        candidate.program == named || candidate.pids.iter().any(|pid| pid.to_string() == named)
    });
    match found.as_slice() {
        [only] => Ok(*only),
        [] => bail!("no program `{named}` is running; there are\n{}", list()),
        _ => bail!("`{named}` runs several times; choose one with --program PID\n{}", list()),
    }
}

fn line(candidate: &Candidate<'_>) -> String {
    let Candidate { program, pids, split } = candidate;
    let form = match pids.as_slice() {
        _ if *split => "nodes".to_owned(),
        [_] => "a single process".to_owned(),
        several => format!("{} nodes of a cloud", several.len()),
    };
    format!("  {program:16}  process {:<8} {form}", pids.first().copied().unwrap_or_default())
}

/// The names that programs built from this directory have: the nearest package's, and its binaries'.
fn names_of(directory: &Path) -> Vec<String> {
    let Some((root, package)) = directory.ancestors().find_map(|at| Some((at.to_owned(), package_in(at)?)))
    else {
        return Vec::new();
    };
    let name = |table: &toml::Value| table.get("name").and_then(toml::Value::as_str).map(str::to_owned);
    let mut names: Vec<String> = package.get("package").and_then(name).into_iter().collect();
    let bins = package.get("bin").and_then(toml::Value::as_array);
    names.extend(bins.into_iter().flatten().filter_map(name));
    for entry in std::fs::read_dir(root.join("src/bin")).into_iter().flatten().flatten() {
        let stem = entry.path().file_stem().map(|stem| stem.to_string_lossy().into_owned());
        names.extend(stem);
    }
    names
}

fn package_in(directory: &Path) -> Option<toml::Table> {
    let manifest: PathBuf = directory.join("Cargo.toml");
    let table: toml::Table = std::fs::read_to_string(manifest).ok()?.parse().ok()?;
    table.contains_key("package").then_some(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(running: &[(&str, u32)], named: Option<&str>, here: &[&str]) -> Result<u32, String> {
        check_for(Purpose::Look, running, named, here)
    }

    fn check_for(
        purpose: Purpose,
        running: &[(&str, u32)],
        named: Option<&str>,
        here: &[&str],
    ) -> Result<u32, String> {
        let all: Vec<_> = running
            .iter()
            .map(|&(program, pid)| Candidate { program, pids: vec![pid], split: pid % 2 == 0 })
            .collect();
        let here: Vec<_> = here.iter().map(|name| (*name).to_owned()).collect();
        pick(&all, named, &here, purpose).map(|at| all[at].pids[0]).map_err(|error| error.to_string())
    }

    #[test]
    fn the_only_one_the_named_one_or_the_one_of_this_directory() {
        let two = [("shop", 10), ("tally", 11)];
        assert_eq!(check(&[("shop", 10)], None, &[]), Ok(10));
        assert_eq!(check(&two, None, &["tally"]), Ok(11));
        assert_eq!(check(&two, Some("shop"), &["tally"]), Ok(10));
        assert_eq!(check(&two, Some("11"), &[]), Ok(11));
    }

    #[test]
    fn nothing_happens_to_a_stranger_by_accident() {
        let (only, purpose) = ([("tally", 11)], Purpose::Change);
        assert_eq!(check(&only, None, &["shop"]), Ok(11));
        let error =
            check_for(purpose, &only, None, &["shop"]).expect_err("it is another program's directory");
        assert!(error.contains("--program") && error.contains("tally"), "{error}");
        for (named, here) in
            [(None, &[][..]), (None, &["tally"]), (Some("tally"), &["shop"]), (Some("11"), &["shop"])]
        {
            assert_eq!(check_for(purpose, &only, named, here), Ok(11));
        }
    }

    #[test]
    fn whoever_has_to_choose_sees_what_there_is() {
        let nothing = check(&[], None, &[]).expect_err("nothing runs");
        assert!(nothing.contains("skybox run"), "{nothing}");
        let two = [("shop", 10), ("shop", 11)];
        for (named, here) in [(None, &["shop"][..]), (None, &[]), (Some("shop"), &[]), (Some("12"), &[])] {
            let error = check(&two, named, here).expect_err("not one");
            let lines = [
                "shop              process 10       nodes",
                "shop              process 11       a single process",
            ];
            assert!(lines.iter().all(|line| error.contains(line)), "{error}");
        }
    }

    #[test]
    fn an_operators_files_lie_together() {
        let files = operator_files(Path::new("certs/operator-ada.b"));
        assert_eq!(files.authority, Path::new("certs/authority.pem"));
        assert_eq!(files.certificate, Path::new("certs/operator-ada.b.pem"));
        assert_eq!(files.key, Path::new("certs/operator-ada.b.key"));
    }

    #[test]
    fn a_package_names_its_programs() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        assert_eq!(names_of(&here), ["skybox-cli", "skybox"]);
        assert!(names_of(Path::new("/")).is_empty());
    }
}
