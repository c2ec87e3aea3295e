//! The keys in the attribute: `cpu = 1, replicas = 2, keyed`.

mod units;
mod value;

use proc_macro2::{Ident, Span, TokenStream};
use quote::ToTokens;
use syn::ext::IdentExt;
use syn::parse::discouraged::Speculative;
use syn::parse::{Parse, ParseStream, Parser};
use syn::punctuated::Punctuated;
use syn::{Expr, Path, Token, Type};

use self::value::Value;
use super::Refusals;
use super::candidate::NOT_SPAWNED;
use super::marks::Marks;
use crate::model::Needs;

/// What an attribute says.
pub(super) struct Annotations {
    /// Where the runtime is found.
    pub(super) root: Path,
    pub(super) needs: Needs,
    /// Where `keyed` stands.
    pub(super) keyed: Option<Span>,
    /// Where `stop_wait` stands.
    pub(super) stop_wait: Option<Span>,
    /// Where `spawned` stands.
    pub(super) spawned: Option<Span>,
}

/// Keys of modules, the ones of tasks first.
const KEYS: [&str; 23] = [
    "cpu",
    "memory",
    "gpu",
    "near",
    "with",
    "apart",
    "spread",
    "on",
    "replicas",
    "isolate",
    "concurrency",
    "restart",
    "max_restarts",
    "within",
    "deadline",
    "crate",
    "keyed",
    "spawned",
    "overrun",
    "stop_wait",
    "idle",
    "awake",
    "on_store_loss",
];

/// How many of [`KEYS`] a task takes: it has no state, so the rest means nothing to it.
const TASK_KEY_COUNT: usize = 16;

/// What may stand on an interface.
const INTERFACE_KEYS: [&str; 2] = ["crate", "keyed"];

/// Marks that may stand in a task's attribute as well as below it.
const TASK_MARKS: [&str; 3] = ["idempotent", "compute", "to_completion"];

/// Keys that exist, but only in the configuration file.
const CONFIG_KEYS: [&str; 2] = ["start_wait", "queue"];

/// One `key` or `key = value`.
struct Entry {
    key: String,
    span: Span,
    value: Option<Value>,
}

impl Parse for Entry {
    fn parse(input: ParseStream<'_>) -> syn::Result<Entry> {
        let first = input.call(Ident::parse_any)?;
        let span = first.span();
        let mut key = first.unraw().to_string();
        // The file writes `on-store-loss`; so may the attribute.
        while input.peek(Token![-]) {
            input.parse::<Token![-]>()?;
            key.push('_');
            key.push_str(&input.call(Ident::parse_any)?.to_string());
        }
        let value = match input.parse::<Option<Token![=]>>()? {
            Some(_) if key == "keyed" => Some(key_type(input)?),
            Some(_) => Some(Value(input.parse()?)),
            None => None,
        };
        Ok(Entry { key, span, value })
    }
}

/// What stands behind `keyed =`: a type, of which not every one is an expression.
fn key_type(input: ParseStream<'_>) -> syn::Result<Value> {
    let ahead = input.fork();
    match ahead.parse::<Type>() {
        Ok(ty) => {
            input.advance_to(&ahead);
            Ok(Value(Expr::Verbatim(ty.into_token_stream())))
        }
        Err(_) => Ok(Value(input.parse()?)),
    }
}

/// Reads `#[skybox::module(…)]` on a trait: where the runtime is found, and the type of the key.
pub(super) fn of_interface(attribute: TokenStream) -> syn::Result<(Path, Option<Type>)> {
    let mut refusals = Refusals::default();
    let (mut annotations, mut key) = (Annotations::none(), None);
    for entry in &entries(attribute)? {
        let result = match entry.key.as_str() {
            "keyed" => entry.key_type().map(|ty| key = Some(ty)),
            "crate" => annotations.set(entry, &INTERFACE_KEYS),
            "spawned" => Err(entry.refuse(NOT_SPAWNED)),
            known if KEYS.contains(&known) => Err(entry.refuse(format!(
                "`{known}` says how instances are kept: it stands on the implementations of this interface"
            ))),
            mark if TASK_MARKS.contains(&mark) || mark == "cancel_on_drop" => {
                Err(entry.refuse(format!("`#[{mark}]` stands on one method: write it there")))
            }
            _ => annotations.set(entry, &INTERFACE_KEYS),
        };
        refusals.take(result);
    }
    refusals.finish()?;
    Ok((annotations.root, key))
}

/// Reads `#[skybox::module(…)]` on an `impl` block.
pub(super) fn of_module(attribute: TokenStream) -> syn::Result<Annotations> {
    let mut refusals = Refusals::default();
    let mut annotations = Annotations::none();
    let entries = entries(attribute)?;
    for entry in &entries {
        let result = match entry.key.as_str() {
            "keyed" => entry.flag().map(|span| annotations.keyed = Some(span)),
            "spawned" => entry.flag().map(|span| annotations.spawned = Some(span)),
            mark if TASK_MARKS.contains(&mark) || mark == "cancel_on_drop" || mark == "local" => {
                Err(entry.refuse(format!("`#[{mark}]` stands on one method: write it there")))
            }
            key => {
                if key == "stop_wait" {
                    annotations.stop_wait = Some(entry.span);
                }
                annotations.set(entry, &KEYS)
            }
        };
        refusals.take(result);
    }
    contradictions(&entries, &annotations, &mut refusals);
    refusals.finish()?;
    Ok(annotations)
}

/// Reads `#[skybox::task(…)]`; marks in it count as if they stood below.
pub(super) fn of_task(attribute: TokenStream, marks: &mut Marks) -> syn::Result<Annotations> {
    let mut refusals = Refusals::default();
    let mut annotations = Annotations::none();
    for entry in &entries(attribute)? {
        let key = entry.key.as_str();
        let result = match key {
            mark if TASK_MARKS.contains(&mark) => entry.flag().and_then(|span| marks.set(mark, span)),
            "keyed" | "spawned" | "overrun" | "stop_wait" | "idle" | "awake" | "on_store_loss" => {
                Err(entry
                    .refuse(format!("a task has no state, so `{key}` means nothing to it: a module has")))
            }
            _ => annotations.set(entry, &KEYS[..TASK_KEY_COUNT]),
        };
        refusals.take(result);
    }
    refusals.finish()?;
    Ok(annotations)
}

fn entries(attribute: TokenStream) -> syn::Result<Vec<Entry>> {
    let entries: Vec<Entry> =
        Punctuated::<Entry, Token![,]>::parse_terminated.parse2(attribute)?.into_iter().collect();
    for (i, entry) in entries.iter().enumerate() {
        if entries[..i].iter().any(|earlier| earlier.key == entry.key) {
            return Err(entry.refuse(format!("`{}` stands here twice", entry.key)));
        }
    }
    Ok(entries)
}

/// Refuses keys that say opposite things, or nothing.
fn contradictions(entries: &[Entry], annotations: &Annotations, refusals: &mut Refusals) {
    let (keyed, spawned) = (annotations.keyed.is_some(), annotations.spawned.is_some());
    for entry in entries {
        match entry.key.as_str() {
            "spawned" if keyed => refusals.add(entry.refuse(
                "an instance is either found by its key or made by code: leave `keyed` or `spawned` out",
            )),
            "replicas" if spawned => refusals.add(
                entry.refuse("code says how many instances of a spawned module there are: leave `replicas` out"),
            ),
            key @ ("restart" | "max_restarts" | "within") if spawned => refusals.add(entry.refuse(format!(
                "an instance that code made is started again by its supervisor alone, which says how often: leave \
                 `{key}` out"
            ))),
            "replicas" if keyed => refusals.add(
                entry.refuse("a keyed module has exactly one instance for each key: leave `replicas` out"),
            ),
            "idle" if !keyed => {
                refusals.add(
                    entry.refuse("only the instances of a keyed module fall asleep: `idle` needs `keyed`"),
                );
            }
            "awake" if !keyed => {
                refusals.add(
                    entry.refuse("only the instances of a keyed module fall asleep: `awake` needs `keyed`"),
                );
            }
            "on_store_loss" if !keyed => {
                refusals.add(
                    entry.refuse("only keyed modules have an owner to lose: `on_store_loss` needs `keyed`"),
                );
            }
            _ => {}
        }
    }
}

impl Entry {
    fn refuse(&self, words: impl std::fmt::Display) -> syn::Error {
        syn::Error::new(self.span, words)
    }

    /// A key that takes no value.
    fn flag(&self) -> syn::Result<Span> {
        match &self.value {
            None => Ok(self.span),
            Some(value) => Err(value.refuse(format!("`{}` takes no value", self.key))),
        }
    }

    /// The type of an interface's key.
    fn key_type(&self) -> syn::Result<Type> {
        let words = "an interface names the type of its key, such as `keyed = UserId`";
        match &self.value {
            None => Err(self.refuse(words)),
            Some(Value(Expr::Verbatim(tokens))) => syn::parse2(tokens.clone()),
            Some(value) => Err(value.refuse(words)),
        }
    }

    /// A key that needs a value, handed to a reader that knows what it takes.
    fn read<T>(&self, takes: &str, read: impl FnOnce(&Value) -> Option<T>) -> syn::Result<T> {
        let words = format!("`{}` takes {takes}", self.key);
        match &self.value {
            None => Err(self.refuse(words)),
            Some(value) => read(value).ok_or_else(|| value.refuse(words)),
        }
    }
}

const DURATION: &str = "a duration such as \"250ms\", \"2m\" or \"1h\"";
const COUNT: &str = "a whole number";
const COUNT_ABOVE_ZERO: &str = "a whole number above zero";

impl Annotations {
    fn none() -> Annotations {
        Annotations {
            root: syn::parse_quote!(::skybox),
            needs: Needs::default(),
            keyed: None,
            stop_wait: None,
            spawned: None,
        }
    }

    /// Reads one key with a value.
    fn set(&mut self, entry: &Entry, known: &[&str]) -> syn::Result<()> {
        let needs = &mut self.needs;
        let above_zero = |value: &Value| value.count().filter(|count| *count > 0);
        match entry.key.as_str() {
            "crate" => self.root = entry.read("a path such as \"::skybox\"", Value::path_or_text)?,
            "cpu" => {
                needs.cpu_milli = Some(entry.read("a number of cores such as 2 or 0.5", Value::cpu_milli)?)
            }
            "memory" => needs.memory_bytes = Some(entry.read("a size such as \"512MiB\"", Value::bytes)?),
            "gpu" => needs.gpu = Some(entry.read(COUNT, Value::count)?),
            "near" => {
                needs.near =
                    Some(entry.read("the name of a resource or module, such as \"db\"", Value::text)?)
            }
            "with" => needs.with = Some(entry.read("the type of another module", Value::path)?),
            "apart" => needs.apart = Some(entry.read("the type of another module", Value::path)?),
            "spread" => {
                needs.spread = Some(entry.read("the name of a label, such as \"zone\"", Value::label)?)
            }
            "on" => {
                needs.on =
                    Some(entry.read("a label with its value, such as \"arch=arm64\"", Value::label_value)?)
            }
            "replicas" => {
                let takes = "a number above zero, a range such as 1..=8, or \"per-node\"";
                needs.replicas = Some(entry.read(takes, Value::replicas)?);
            }
            "isolate" => {
                let variants = [("process", "Process"), ("process:shared", "ProcessShared")];
                needs.isolate =
                    Some(entry.read("\"process\" or \"process:shared\"", |v| v.one_of(&variants))?);
            }
            "concurrency" => needs.concurrency = Some(entry.read(COUNT_ABOVE_ZERO, above_zero)?),
            "restart" => {
                let variants = [("always", "Always"), ("on-crash", "OnCrash"), ("never", "Never")];
                let takes = "\"always\", \"on-crash\" or \"never\"";
                needs.restart = Some(entry.read(takes, |v| v.one_of(&variants))?);
            }
            "max_restarts" => needs.max_restarts = Some(entry.read(COUNT, Value::count)?),
            "within" => needs.within_ms = Some(entry.read(DURATION, Value::ms)?),
            "deadline" => needs.deadline_ms = Some(entry.read(DURATION, Value::ms)?),
            "overrun" => needs.overrun_ms = Some(entry.read(DURATION, Value::ms)?),
            "stop_wait" => needs.stop_wait_ms = Some(entry.read(DURATION, Value::ms)?),
            "idle" => needs.idle_ms = Some(entry.read(DURATION, Value::ms)?),
            "awake" => needs.awake = Some(entry.read(COUNT_ABOVE_ZERO, above_zero)?),
            "on_store_loss" => {
                let variants = [("stop", "Stop"), ("continue", "Continue")];
                needs.on_store_loss = Some(entry.read("\"stop\" or \"continue\"", |v| v.one_of(&variants))?);
            }
            key if CONFIG_KEYS.contains(&key) => {
                let words = format!("`{}` is set in skybox.toml alone", key.replace('_', "-"));
                return Err(entry.refuse(words));
            }
            key => return Err(entry.refuse(unknown(key, known))),
        }
        Ok(())
    }
}

fn unknown(key: &str, known: &[&str]) -> String {
    let (distance, nearest) = known
        .iter()
        .map(|known| (units::edit_distance(key, known), known))
        .min_by_key(|(distance, _)| *distance)
        .expect("there are keys");
    // A third of the letters wrong is a slip of the finger; more is another word.
    if distance * 3 <= nearest.len().max(3) {
        format!("there is no key `{key}`; did you mean `{nearest}`?")
    } else {
        format!("there is no key `{key}`; the keys are {}", known.join(", "))
    }
}
