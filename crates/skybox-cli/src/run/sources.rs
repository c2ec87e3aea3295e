//! What a program is built from, and how it looked at some moment.
//!
//! Two sets are looked at. The Rust files and manifests in the directories of the program's package and of every
//! package it depends on by path: a file that does not build yet is among them. And what the compiler says it has read
//! for the last build, which may lie anywhere: templates, pictures, migrations. What a program writes beside its sources,
//! such as a database, is in neither.
//!
//! It is a walk that compares times and sizes, a few times a second. Notifications of the kernel (the crate `notify`) would
//! come sooner, and do not come at all where sources lie in a shared folder of a container or a virtual machine; and the
//! walk is a few milliseconds for a thousand files.

use std::collections::BTreeMap;
use std::fs::{DirEntry, Metadata};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::SystemTime;

use serde_json::Value;

use super::build::{Built, cargo};

/// Files that are looked at, at most: more are no program's sources, but a directory that was taken for some.
const FILES_MAX: usize = 50_000;
/// Directories below a package's, at most.
const DEPTH_MAX: usize = 32;

/// When a file was written, and how long it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    written: SystemTime,
    bytes: u64,
}

impl Mark {
    /// Of a file that is there.
    pub(super) fn of(file: &Path) -> Option<Mark> {
        Mark::from(&file.metadata().ok()?)
    }

    fn from(metadata: &Metadata) -> Option<Mark> {
        Some(Mark { written: metadata.modified().ok()?, bytes: metadata.len() })
    }
}

/// How the sources look.
pub(super) type Look = BTreeMap<PathBuf, Mark>;

/// What is looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sources {
    /// The packages' directories, by the packages' names.
    packages: BTreeMap<String, PathBuf>,
    /// Where cargo builds.
    target: PathBuf,
    /// What the compiler has read elsewhere.
    read: Vec<PathBuf>,
}

impl Sources {
    /// As cargo knows them; of one package with what it depends on by path, or of every package of the workspace while
    /// it is not known which is meant. `None` if cargo does not say, as where a manifest is broken.
    pub(super) fn ask(package: Option<&str>) -> Option<Sources> {
        let output =
            cargo().args(["metadata", "--format-version", "1"]).stderr(Stdio::null()).output().ok()?;
        let sources = Sources::of(&serde_json::from_slice(&output.stdout).ok()?, package)?;
        // The package of that id has another version now.
        (!sources.packages.is_empty()).then_some(sources)
    }

    fn of(metadata: &Value, package: Option<&str>) -> Option<Sources> {
        let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
        let list = |value: &Value, key: &str| value.get(key).and_then(Value::as_array).cloned();
        let mut wanted: Vec<String> = match package {
            Some(package) => vec![package.to_owned()],
            None => list(metadata, "workspace_members")?
                .iter()
                .filter_map(|id| id.as_str().map(str::to_owned))
                .collect(),
        };
        let nodes = list(metadata.get("resolve")?, "nodes")?;
        let dependencies: BTreeMap<_, _> =
            nodes.iter().filter_map(|node| Some((text(node, "id")?, list(node, "dependencies")?))).collect();
        // Only those on this disk have no source.
        let packages = list(metadata, "packages")?;
        let local: BTreeMap<_, _> = packages
            .iter()
            .filter(|package| package.get("source").is_some_and(Value::is_null))
            .filter_map(|package| {
                Some((text(package, "id")?, (text(package, "name")?, text(package, "manifest_path")?)))
            })
            .collect();
        let mut found = BTreeMap::new();
        while let Some(id) = wanted.pop() {
            let Some((name, manifest)) = local.get(&id) else { continue };
            let directory = Path::new(manifest).parent()?.to_owned();
            if found.insert(name.clone(), directory).is_none() {
                let next = dependencies.get(&id).into_iter().flatten();
                wanted.extend(next.filter_map(|id| id.as_str().map(str::to_owned)));
            }
        }
        Some(Sources {
            packages: found,
            target: text(metadata, "target_directory")?.into(),
            read: Vec::new(),
        })
    }

    /// Adds what the compiler has read for this executable.
    pub(super) fn add_read(&mut self, built: &Built) {
        let list = std::fs::read_to_string(built.file.with_extension("d")).unwrap_or_default();
        self.read = read_for(&list);
    }

    /// The names of the packages.
    pub(super) fn packages(&self) -> impl Iterator<Item = &str> {
        self.packages.keys().map(String::as_str)
    }

    /// How they look now.
    pub(super) fn look(&self) -> Look {
        let mut look = Look::new();
        for directory in self.packages.values() {
            self.walk(directory, 0, &mut look);
        }
        for file in &self.read {
            look.extend(Mark::of(file).map(|mark| (file.clone(), mark)));
        }
        look
    }

    fn walk(&self, directory: &Path, depth: usize, look: &mut Look) {
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            let path = entry.path();
            if look.len() >= FILES_MAX || depth > DEPTH_MAX || is_hidden(&entry) || path == self.target {
                continue;
            }
            let Ok(metadata) = path.metadata() else { continue };
            if metadata.is_dir() {
                self.walk(&path, depth + 1, look);
            } else if is_source(&path) {
                look.extend(Mark::from(&metadata).map(|mark| (path, mark)));
            }
        }
    }
}

fn is_hidden(entry: &DirEntry) -> bool {
    entry.file_name().to_string_lossy().starts_with('.')
}

fn is_source(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "rs")
        || path.file_name().is_some_and(|name| name == "Cargo.toml")
}

/// The files behind the colon of a dependency file; a space in a name is written `\ `.
fn read_for(list: &str) -> Vec<PathBuf> {
    let Some((_, files)) = list.lines().next().and_then(|line| line.split_once(": ")) else {
        return Vec::new();
    };
    const SPACE: &str = "\u{0}";
    let files = files.replace("\\ ", SPACE);
    files.split_whitespace().map(|file| PathBuf::from(file.replace(SPACE, " "))).collect()
}

/// A file that looks otherwise than before, is new, or is gone.
pub(super) fn difference(before: &Look, after: &Look) -> Option<PathBuf> {
    let changed = after.iter().find(|(path, mark)| before.get(*path) != Some(mark));
    let gone = || before.keys().find(|path| !after.contains_key(*path));
    changed.map(|(path, _)| path).or_else(gone).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_the_programs_own_and_those_on_this_disk() {
        let metadata = serde_json::json!({
            "workspace_members": ["shop", "other"],
            "target_directory": "/w/target",
            "packages": [
                { "id": "shop", "name": "shop", "source": null, "manifest_path": "/w/shop/Cargo.toml" },
                { "id": "words", "name": "words", "source": null, "manifest_path": "/elsewhere/words/Cargo.toml" },
                { "id": "other", "name": "other", "source": null, "manifest_path": "/w/other/Cargo.toml" },
                { "id": "tokio", "name": "tokio", "source": "registry", "manifest_path": "/r/tokio/Cargo.toml" },
            ],
            "resolve": { "nodes": [
                { "id": "shop", "dependencies": ["tokio", "words"] },
                { "id": "words", "dependencies": [] },
                { "id": "other", "dependencies": [] },
                { "id": "tokio", "dependencies": [] },
            ] },
        });
        let of = |package| {
            let sources = Sources::of(&metadata, package).expect("it is whole");
            sources.packages().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(of(Some("shop")), ["shop", "words"]);
        assert_eq!(of(None), ["other", "shop", "words"]);
    }

    #[test]
    fn the_compiler_says_what_it_has_read() {
        let list = "/t/debug/shop: /w/src/main.rs /w/my\\ pages/index.html\n\n/w/src/main.rs:\n";
        assert_eq!(read_for(list), [Path::new("/w/src/main.rs"), Path::new("/w/my pages/index.html")]);
        assert!(read_for("").is_empty());
    }

    #[test]
    fn what_has_changed_is_named() {
        let mark = |bytes| Mark { written: SystemTime::UNIX_EPOCH, bytes };
        let look = |files: &[(&str, u64)]| -> Look {
            files.iter().map(|(path, bytes)| (PathBuf::from(path), mark(*bytes))).collect()
        };
        let before = look(&[("a", 1), ("b", 1)]);
        type Case<'c> = (&'c [(&'c str, u64)], Option<&'c str>);
        let cases: [Case<'_>; 4] = [
            (&[("a", 1), ("b", 1)], None),
            (&[("a", 1), ("b", 2)], Some("b")),
            (&[("a", 1)], Some("b")),
            (&[("a", 1), ("b", 1), ("c", 1)], Some("c")),
        ];
        for (after, expect) in cases {
            assert_eq!(difference(&before, &look(after)), expect.map(PathBuf::from), "{after:?}");
        }
    }
}
