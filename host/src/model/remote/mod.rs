//! Models of Hugging Face's hub by their names, `hf:OWNER/NAME` or `hf:OWNER/NAME@REVISION`: fetched once, into the cache that Python's `huggingface_hub` reads too.
//!
//! Only what opening needs is fetched: `config.json`, `preprocessor_config.json`, for a dual encoder `tokenizer.json` and what the repository has beside it, the networks of one number format, and the files in
//! which their weights lie. Each is checked by its size and hash before it gets its name.
//!
//! This is not the crate `hf-hub`: its versions with a plain client (to 0.5) verify no hashes and know neither `HF_HUB_CACHE`, `HF_TOKEN` nor `HF_HUB_OFFLINE`, and later ones
//! (from 1.0) bring an asynchronous runtime and a second protocol of storage.

mod cache;
mod http;

use super::hub::{self, Precision};
use super::options::ModelOptions;
use super::padding;
use crate::onnx::inspect;
use crate::progress::{Progress, Watch};
use anyhow::{Context, Result, bail, ensure};
use cache::Store;
use http::Client;
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

const MARK: &str = "hf:";
const CONFIG: &str = "config.json";
const PREPARATION: &str = "preprocessor_config.json";
const TOKENIZER: &str = "tokenizer.json";

/// A model of the hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    /// OWNER/NAME.
    pub(super) name: String,
    /// A branch, a tag or a commit.
    revision: String,
}

impl Address {
    /// The model that is meant, if the text begins as such an address does.
    pub(super) fn parse(text: &str) -> Option<Result<Self>> {
        let address = text.strip_prefix(MARK)?;
        let (name, revision) = address.split_once('@').unwrap_or((address, "main"));
        let letters = |part: &str| {
            !part.is_empty() && part.chars().all(|letter| letter.is_ascii_alphanumeric() || "._-".contains(letter))
        };
        let plain = |part: &str| letters(part) && !part.starts_with('.') && !part.contains("..");
        let parts: Vec<&str> = name.split('/').collect();
        let right = parts.len() == 2 && parts.into_iter().all(plain) && revision.split('/').all(plain);
        Some(if right {
            Ok(Self { name: name.to_owned(), revision: revision.to_owned() })
        } else {
            Err(anyhow::anyhow!(
                "\"{text}\": expected hf:OWNER/NAME or hf:OWNER/NAME@REVISION, such as hf:Xenova/clip-vit-base-patch32"
            ))
        })
    }

    fn told(&self, commit: &str) -> String {
        format!("{MARK}{}@{commit}", self.name)
    }
}

/// A model's folder in the cache.
pub(super) struct Fetched {
    pub(super) folder: PathBuf,
    /// The address with the commit that was taken.
    pub(super) origin: String,
}

/// What surrounds this program: where the cache is, where the hub is, and who is asking.
#[derive(Debug)]
struct Settings {
    cache: PathBuf,
    endpoint: String,
    token: Option<String>,
    offline: bool,
}

impl Settings {
    /// As Python's `huggingface_hub` reads the environment.
    fn of_environment() -> Result<Self> {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let text = |name: &str| variable(name).map(|value| value.to_string_lossy().trim().to_owned());
        let flag =
            |name: &str| text(name).is_some_and(|value| ["1", "on", "yes", "true"].contains(&&*value.to_lowercase()));
        let home = || -> Option<PathBuf> {
            let user = || variable("HOME").or_else(|| variable("USERPROFILE")).map(PathBuf::from);
            let caches = variable("XDG_CACHE_HOME").map(PathBuf::from).or_else(|| Some(user()?.join(".cache")));
            variable("HF_HOME").map(PathBuf::from).or_else(|| Some(caches?.join("huggingface")))
        };
        let named = ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"].into_iter().find_map(variable).map(PathBuf::from);
        let cache = named.or_else(|| Some(home()?.join("hub")));
        let kept = || {
            let file = variable("HF_TOKEN_PATH").map(PathBuf::from).or_else(|| Some(home()?.join("token")))?;
            Some(std::fs::read_to_string(file).ok()?.trim().to_owned())
        };
        let token = text("HF_TOKEN").or_else(|| text("HUGGING_FACE_HUB_TOKEN")).or_else(kept);
        Ok(Self {
            cache: cache.context("no folder for models of the hub: set HF_HOME to one")?,
            endpoint: text("HF_ENDPOINT").unwrap_or("https://huggingface.co".into()).trim_end_matches('/').to_owned(),
            token: token.filter(|token| !token.is_empty()),
            offline: flag("HF_HUB_OFFLINE"),
        })
    }
}

/// Fetches what opening a model needs and the cache does not have.
pub(super) fn fetch(address: &Address, options: &ModelOptions) -> Result<Fetched> {
    let settings = Settings::of_environment()?;
    let precision = hub::precision(options.precision.as_deref())?;
    let store = Store::of(&settings.cache, &address.name);
    let fetched = |commit: &str| Fetched { folder: store.snapshot(commit), origin: address.told(commit) };
    let cached = store.commit(&address.revision);
    if let Some(commit) = &cached
        && complete(&store, commit, precision)?
    {
        return Ok(fetched(commit));
    }
    if settings.offline {
        let there = cached.as_deref().map(|commit| store.networks(commit)).unwrap_or_default();
        let missing = cached.map(|commit| missing_beside_tokenizer(&store, &commit)).unwrap_or_default();
        let lacks = match (&there[..], &missing[..]) {
            ([], _) => "nothing of this model".to_owned(),
            (_, []) => format!("not all files that are needed, only {}", there.join(", ")),
            (_, missing) => {
                format!("not all files that are needed: it is not known whether there is {}", missing.join(" or "))
            }
        };
        bail!(
            "hf:{}: HF_HUB_OFFLINE is set, and the cache {} has {lacks}; fetch the model once without it, or choose another --precision",
            address.name,
            settings.cache.display(),
        );
    }
    let client = Client::new(&settings.endpoint, settings.token.as_deref(), &address.name);
    let listing = client.listing(&address.revision)?;
    let quiet: &Watch = &|_| ControlFlow::Continue(());
    let work = Work { store: &store, client: &client, commit: &listing.commit, files: &listing.files };
    work.fetch(precision, options.watcher.as_ref().map_or(quiet, |watcher| watcher.watch()))?;
    store.name_commit(&address.revision, &listing.commit)?;
    Ok(fetched(&listing.commit))
}

/// Whether the cache has all that opening needs.
fn complete(store: &Store, commit: &str, precision: Option<Precision>) -> Result<bool> {
    let has = |file: &str| store.has(commit, file);
    if ![CONFIG, PREPARATION].into_iter().all(has) {
        return Ok(false);
    }
    let folder = store.snapshot(commit);
    let kind = hub::Kind::of_folder(&folder)?;
    if kind == hub::Kind::DualEncoder && (!has(TOKENIZER) || !missing_beside_tokenizer(store, commit).is_empty()) {
        return Ok(false);
    }
    for names in kind.networks() {
        // A network that comes first and is not here may be in the repository, unless it is known not to be.
        let mut candidates = hub::candidates(names, precision).into_iter().map(|name| format!("onnx/{name}"));
        let Some(file) = candidates.find(|file| has(file) || !store.is_known_missing(commit, file)) else {
            return Ok(false);
        };
        if !has(&file) || !weights(&folder, &file)?.iter().all(|file| has(file)) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The files beside a tokenizer that are not in the cache, but may be in the repository. Prompts would be filled up with another token without them.
fn missing_beside_tokenizer(store: &Store, commit: &str) -> Vec<&'static str> {
    if !store.has(commit, TOKENIZER) {
        return Vec::new();
    }
    let unknown = |file: &&str| !store.has(commit, file) && !store.is_known_missing(commit, file);
    padding::FILES.into_iter().filter(unknown).collect()
}

/// The files in which a network's weights lie, as paths in the repository.
fn weights(folder: &Path, network: &str) -> Result<Vec<String>> {
    let path = folder.join(network);
    let bytes = std::fs::read(&path).with_context(|| format!("{}: could not read the file", path.display()))?;
    let names = inspect::data_files(&bytes).with_context(|| path.display().to_string())?;
    let plain = |name: &String| name.split('/').all(|part| !part.is_empty() && part != ".." && part != ".");
    if let Some(name) = names.iter().find(|name| !plain(name)) {
        bail!("{}: its data are said to lie in \"{name}\": expected a file beside the network", path.display());
    }
    Ok(names.into_iter().map(|name| format!("onnx/{name}")).collect())
}

/// Fetching the files of one commit.
struct Work<'a> {
    store: &'a Store,
    client: &'a Client,
    commit: &'a str,
    files: &'a BTreeSet<String>,
}

impl Work<'_> {
    fn fetch(&self, precision: Option<Precision>, watch: &Watch) -> Result<()> {
        let networks: Vec<&str> =
            self.files.iter().filter_map(|file| file.strip_prefix("onnx/")?.strip_suffix(".onnx")).collect();
        ensure!(
            !networks.is_empty(),
            "hf:{}: expected networks in a folder \"onnx\" of this repository, found none; take one that has them, as those of Xenova and onnx-community do, or export it: \
             `optimum-cli export onnx --model {} DIR` and --model DIR, or the scripts of models/export",
            self.client.name(),
            self.client.name()
        );
        self.get(&[CONFIG.to_owned(), PREPARATION.to_owned()], watch)?;
        let kind = hub::Kind::of_folder(&self.store.snapshot(self.commit))?;
        let mut wanted = Vec::new();
        for names in kind.networks() {
            let candidates = hub::candidates(names, precision);
            let (missing, found) = self.first(&candidates);
            let found = found.with_context(|| {
                format!(
                    "hf:{}: expected onnx/{}.onnx{}, found {}; choose another --precision",
                    self.client.name(),
                    names.join(".onnx or "),
                    precision.map_or_else(String::new, |(name, _)| format!(" in {name}")),
                    networks.join(".onnx, ") + ".onnx"
                )
            })?;
            for file in missing {
                self.store.note_missing(self.commit, &file)?;
            }
            wanted.push(found);
        }
        wanted.dedup();
        let networks = wanted.clone();
        if kind == hub::Kind::DualEncoder {
            wanted.push(TOKENIZER.to_owned());
            for file in padding::FILES {
                if self.files.contains(file) {
                    wanted.push(file.to_owned());
                } else {
                    self.store.note_missing(self.commit, file)?;
                }
            }
        }
        self.get(&wanted, watch)?;
        let folder = self.store.snapshot(self.commit);
        let data: Vec<Vec<String>> = networks.iter().map(|file| weights(&folder, file)).collect::<Result<_>>()?;
        self.get(&data.concat(), watch)
    }

    /// The first of these networks that the repository has, and those before it.
    fn first(&self, candidates: &[String]) -> (Vec<String>, Option<String>) {
        let mut files = candidates.iter().map(|name| format!("onnx/{name}"));
        let mut missing = Vec::new();
        let found = files.find(|file| {
            let has = self.files.contains(file);
            if !has {
                missing.push(file.clone());
            }
            has
        });
        (missing, found)
    }

    /// Fetches those of these files that the cache does not have.
    fn get(&self, files: &[String], watch: &Watch) -> Result<()> {
        let mut open = Vec::new();
        for file in files.iter().filter(|file| !self.store.has(self.commit, file)) {
            ensure!(
                self.files.contains(file),
                "hf:{}: expected the file {file} in this repository, found none; take a repository that has it, as those of Xenova and onnx-community do",
                self.client.name()
            );
            open.push((file, self.client.state(self.commit, file)?));
        }
        const MEGABYTE: u64 = 1_000_000;
        let total: u64 = open.iter().map(|(_, state)| state.size).sum();
        let mut before = 0;
        for (file, state) in &open {
            let told = |bytes: u64| {
                let step = |bytes: u64| bytes.div_ceil(MEGABYTE) as usize;
                let progress = Progress { counted: "MB", done: step(before + bytes), total: step(total) };
                match watch(progress) {
                    ControlFlow::Continue(()) => Ok(()),
                    ControlFlow::Break(()) => Err(crate::Error::Cancelled.into()),
                }
            };
            self.store.add(self.commit, file, state, |partial| {
                self.client.download(self.commit, file, state, partial, &told)
            })?;
            before += state.size;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_names_and_revisions_and_nothing_that_leads_out_of_the_cache() {
        assert!(Address::parse("lite").is_none() && Address::parse("./hf:a/b").is_none());
        let address = |text: &str| Address::parse(text).unwrap().map(|address| (address.name, address.revision));
        assert_eq!(address("hf:a/b-1.0_c").unwrap(), ("a/b-1.0_c".into(), "main".into()));
        assert_eq!(address("hf:a/b@refs/pr/1").unwrap(), ("a/b".into(), "refs/pr/1".into()));
        for wrong in
            ["hf:", "hf:b", "hf:a/b/c", "hf:../b", "hf:a/..", "hf:a/b@", "hf:a/b@../x", "hf:a/b@x/../y", "hf:a/b?c"]
        {
            assert!(address(wrong).unwrap_err().to_string().contains("OWNER/NAME"), "{wrong}");
        }
    }
}
