//! Models of Hugging Face's hub: a hub of this machine's own, with the real one's paths and headers, from which the command fetches into a cache.

use crate::common::cat;
use crate::common::run::{Run, decomcam};
use crate::onnx::inspect::{classifier, with_weights_beside};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use tempfile::TempDir;

const NAME: &str = "owner/tiny";
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const NETWORK: &str = "onnx/model.onnx";
const WEIGHTS: &str = "onnx/model.onnx_data";
const TOKEN: &str = "a secret";

/// What the hub does wrong.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// It closes the connection in the middle of a file, so often.
    Cut(usize),
    /// A byte of a file differs.
    Damaged,
    /// Access has to be granted.
    Gated,
    /// Nothing is known of the model, which is said as the hub says it to those without a token.
    Unknown,
}

/// One request.
#[derive(Clone, Debug)]
struct Asked {
    method: String,
    path: String,
    range: Option<String>,
    token: Option<String>,
    of_the_store: bool,
}

struct State {
    files: BTreeMap<String, Vec<u8>>,
    fault: Option<Fault>,
    asked: Vec<Asked>,
    store: String,
}

/// A hub, and the store beside it to which it sends on for large files.
struct Hub {
    state: Arc<Mutex<State>>,
    endpoint: String,
    cache: TempDir,
}

impl Hub {
    fn with(files: &[(&str, Vec<u8>)]) -> Self {
        let [hub, store] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let address = |listener: &TcpListener| format!("http://{}", listener.local_addr().unwrap());
        let endpoint = address(&hub);
        let files = files.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.clone())).collect();
        let state = State { files, fault: None, asked: Vec::new(), store: address(&store) };
        let state = Arc::new(Mutex::new(state));
        for (listener, of_the_store) in [(hub, false), (store, true)] {
            let state = Arc::clone(&state);
            std::thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    // A client that goes away is none of the hub's business.
                    let _ = answer(&stream, &state, of_the_store);
                }
            });
        }
        Self { state, endpoint, cache: TempDir::new().unwrap() }
    }

    /// A classifier in two number formats, one of which has its weights in a file of their own, beside files that nobody needs.
    fn of_a_classifier() -> Self {
        let (network, weights) = with_weights_beside("model.onnx_data");
        Self::with(&[
            ("README.md", b"much to read".to_vec()),
            ("config.json", CONFIG.into()),
            ("preprocessor_config.json", PREPARATION.into()),
            ("pytorch_model.bin", vec![0; 100]),
            (NETWORK, network),
            (WEIGHTS, weights),
            ("onnx/model_fp16.onnx", classifier()),
        ])
    }

    fn with_fault(self, fault: Fault) -> Self {
        self.set(Some(fault));
        self
    }

    fn set(&self, fault: Option<Fault>) {
        self.state.lock().unwrap().fault = fault;
    }

    /// Forgets and tells what was asked.
    fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.state.lock().unwrap().asked)
    }

    /// `models` of an address, whose networks are opened and looked into.
    fn open(&self, address: &str) -> Run {
        self.run(["models", address])
    }

    fn run<const N: usize>(&self, args: [&str; N]) -> Run {
        let mut command = decomcam(args).command();
        for name in ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"] {
            command.env_remove(name);
        }
        for name in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
            command.env_remove(name);
        }
        command.env("HF_HOME", self.cache.path()).env("HF_ENDPOINT", &self.endpoint);
        command.into()
    }

    fn store(&self) -> PathBuf {
        self.cache.path().join("hub/models--owner--tiny")
    }

    fn snapshot(&self, file: &str) -> PathBuf {
        self.store().join("snapshots").join(COMMIT).join(file)
    }

    /// Names of the files among the blobs.
    fn blobs(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.store().join("blobs")).into_iter().flatten();
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

const CONFIG: &str = r#"{"model_type": "tiny", "architectures": ["TinyForImageClassification"], "id2label": {"0": "none", "1": "one", "2": "two", "3": "three"}}"#;
const PREPARATION: &str =
    r#"{"size": {"height": 16, "width": 16}, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}"#;

fn hash(name: &str, bytes: &[u8]) -> String {
    let hexadecimal = |hash: &[u8]| {
        hash.iter().fold(String::new(), |mut digits, byte| {
            let _ = write!(digits, "{byte:02x}");
            digits
        })
    };
    if is_large(name) {
        return hexadecimal(&Sha256::digest(bytes));
    }
    hexadecimal(&Sha1::digest([format!("blob {}\0", bytes.len()).as_bytes(), bytes].concat()))
}

fn is_large(name: &str) -> bool {
    name.contains(".onnx") || name.ends_with(".bin")
}

/// Answers one request, then closes the connection.
fn answer(mut stream: &TcpStream, state: &Mutex<State>, of_the_store: bool) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    let mut words = first.split(' ').map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut headers = BTreeMap::new();
    for line in lines {
        let line = line?;
        let Some((name, value)) = line.split_once(": ") else { break };
        headers.insert(name.to_lowercase(), value.to_owned());
    }
    let mut state = state.lock().unwrap();
    let range = headers.get("range").cloned();
    let token = headers.get("authorization").cloned();
    state.asked.push(Asked { method: method.clone(), path: path.clone(), range: range.clone(), token, of_the_store });
    let mut say = |status: &str, more: &str, body: &[u8]| -> std::io::Result<()> {
        let length = body.len();
        write!(stream, "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n{more}\r\n")?;
        if method == "HEAD" { Ok(()) } else { stream.write_all(body) }
    };
    match state.fault {
        Some(Fault::Gated) => return say("403 Forbidden", "X-Error-Code: GatedRepo\r\n", b"{}"),
        Some(Fault::Unknown) => return say("401 Unauthorized", "X-Error-Code: RepoNotFound\r\n", b"{}"),
        _ => {}
    }
    if let Some(revision) = path.strip_prefix(&format!("/api/models/{NAME}/revision/")) {
        if revision != "main" && revision != COMMIT {
            return say("404 Not Found", "X-Error-Code: RevisionNotFound\r\n", b"{}");
        }
        let siblings: Vec<_> = state.files.keys().map(|name| serde_json::json!({"rfilename": name})).collect();
        let listing = serde_json::json!({"sha": COMMIT, "siblings": siblings}).to_string();
        return say("200 OK", "", listing.as_bytes());
    }
    let place = if of_the_store { "/store/".to_owned() } else { format!("/{NAME}/resolve/{COMMIT}/") };
    let Some((name, bytes)) = path.strip_prefix(&place).and_then(|name| state.files.get_key_value(name)) else {
        return say("404 Not Found", "X-Error-Code: EntryNotFound\r\n", b"");
    };
    let (name, mut bytes) = (name.clone(), bytes.clone());
    let hash = hash(&name, &bytes);
    if is_large(&name) && !of_the_store {
        let (size, store) = (bytes.len(), &state.store);
        let more = format!(
            "X-Repo-Commit: {COMMIT}\r\nX-Linked-Etag: \"{hash}\"\r\nX-Linked-Size: {size}\r\nLocation: {store}/store/{name}\r\n"
        );
        return say("302 Found", &more, b"");
    }
    if state.fault == Some(Fault::Damaged) && is_large(&name) {
        bytes[0] ^= 1;
    }
    let from = range.and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
    let all = bytes.len();
    let rest = &bytes[from.unwrap_or(0)..];
    let status = if from.is_some() { "206 Partial Content" } else { "200 OK" };
    let mut more = format!("X-Repo-Commit: {COMMIT}\r\nETag: W/\"{hash}\"\r\n");
    if let Some(from) = from {
        let _ = write!(more, "Content-Range: bytes {from}-{}/{all}\r\n", all - 1);
    }
    if let Some(Fault::Cut(times)) = state.fault
        && times > 0
        && is_large(&name)
        && method == "GET"
    {
        state.fault = Some(Fault::Cut(times - 1));
        write!(stream, "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n{more}\r\n", rest.len())?;
        return stream.write_all(&rest[..rest.len() / 2]);
    }
    say(status, &more, rest)
}

#[test]
fn a_model_is_fetched_once_and_only_what_it_needs() {
    let hub = Hub::of_a_classifier();
    let said = hub
        .open("hf:owner/tiny")
        .ok()
        .prints(&["owner/tiny: tiny in Hugging Face's layout, hf:owner/tiny@0123456789abcdef", "layer maps2"]);
    assert_eq!(said.stderr, "", "no bar where there is no terminal");
    let asked = hub.asked();
    let paths: Vec<&str> = asked.iter().map(|asked| &*asked.path).collect();
    assert!(
        paths
            .iter()
            .any(|path| path.ends_with("/resolve/0123456789abcdef0123456789abcdef01234567/onnx/model.onnx_data"))
    );
    assert!(
        !paths.iter().any(|path| path.contains("README") || path.contains("fp16") || path.contains("pytorch")),
        "{paths:?}"
    );
    // As Python's huggingface_hub lays its cache out.
    let hash = |name: &str| hash(name, &std::fs::read(hub.snapshot(name)).unwrap());
    for (name, up) in [("config.json", "../../blobs"), (NETWORK, "../../../blobs"), (WEIGHTS, "../../../blobs")] {
        assert_eq!(std::fs::read_link(hub.snapshot(name)).unwrap(), PathBuf::from(up).join(hash(name)), "{name}");
    }
    assert_eq!(std::fs::read_to_string(hub.store().join("refs/main")).unwrap(), COMMIT);
    assert_eq!(hub.blobs().len(), 4);
    // What the cache has needs no hub, by branch or by commit, and explains.
    let again = hub.open("hf:owner/tiny").ok();
    assert_eq!((again.stdout, hub.asked().len()), (said.stdout, 0));
    hub.open(&format!("hf:owner/tiny@{COMMIT}")).ok();
    let mut offline = hub.run(["explain", "-m", "hf:owner/tiny", "--class", "two", "-o", "-"]).arg(cat()).command();
    offline.env("HF_HUB_OFFLINE", "1");
    let json = Run::from(offline).ok().json();
    assert_eq!((&json["model"]["name"], hub.asked().len()), (&"owner/tiny".into(), 0));
    // The folder itself, links and all.
    hub.run(["models"]).arg(hub.snapshot("")).ok().prints(&["layer maps2"]);
    // Another number format.
    let mut offline = hub.run(["rank", "-m", "hf:owner/tiny", "--precision", "fp16", "-t", "one"]).arg(cat()).command();
    offline.env("HF_HUB_OFFLINE", "1");
    Run::from(offline).refused(&["HF_HUB_OFFLINE is set", "only model.onnx", "--precision"]);
    hub.run(["rank", "-m", "hf:owner/tiny", "--precision", "fp16", "-t", "one"]).arg(cat()).ok();
    assert_eq!(hub.blobs().len(), 5);
    hub.run(["rank", "-m", "hf:owner/tiny", "--precision", "q4", "-t", "one"]).arg(cat()).refused(&[
        "in q4",
        "model.onnx, model_fp16.onnx",
        "choose another --precision",
    ]);
}

#[test]
fn the_format_that_comes_first_is_not_asked_for_again_where_the_repository_has_it_not() {
    let hub = Hub::with(&[
        ("config.json", CONFIG.into()),
        ("preprocessor_config.json", PREPARATION.into()),
        ("onnx/model_int8.onnx", classifier()),
    ]);
    hub.open("hf:owner/tiny").ok();
    hub.asked();
    hub.open("hf:owner/tiny").ok();
    assert_eq!(hub.asked().len(), 0);
}

/// What says how prompts are filled up is fetched where the repository has it, and not asked for again where it has not.
#[cfg(feature = "tokenizers")]
#[test]
fn what_stands_beside_a_tokenizer_is_fetched_too() {
    let files = crate::text::files_of_two_towers();
    let mut with: Vec<(&str, Vec<u8>)> = files.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect();
    let without = Hub::with(&with);
    without.open("hf:owner/tiny").ok();
    without.asked();
    without.open("hf:owner/tiny").ok();
    assert_eq!(without.asked().len(), 0);
    with.push(("tokenizer_config.json", br#"{"model_max_length": 2}"#.to_vec()));
    let hub = Hub::with(&with);
    let rank = || hub.run(["rank", "-m", "hf:owner/tiny", "-t", "a red cat"]).arg(cat());
    rank().refused(&["takes 3 tokens", "at most 2"]);
    // A cache of an earlier time that lacks the file is completed, and without a hub not taken for complete.
    std::fs::remove_file(hub.snapshot("tokenizer_config.json")).unwrap();
    let mut offline = rank().command();
    offline.env("HF_HUB_OFFLINE", "1");
    Run::from(offline).refused(&["HF_HUB_OFFLINE is set", "tokenizer_config.json"]);
    rank().refused(&["takes 3 tokens", "at most 2"]);
}

#[test]
fn a_download_that_breaks_goes_on_where_it_was() {
    let hub = Hub::of_a_classifier().with_fault(Fault::Cut(2));
    hub.open("hf:owner/tiny").ok();
    let resumed = hub.asked().into_iter().filter(|asked| asked.range.is_some() && asked.of_the_store);
    assert_eq!(resumed.count(), 2, "halves, not the whole again");
    // One that breaks too often leaves what came, under a name of its own, and the next call goes on there.
    let hub = Hub::of_a_classifier().with_fault(Fault::Cut(5));
    hub.open("hf:owner/tiny").refused(&["the connection broke 5 times", "bytes are here", "give the command again"]);
    assert!(!hub.snapshot(NETWORK).exists() && hub.blobs().iter().any(|name| name.ends_with(".incomplete")));
    assert!(!hub.store().join("refs/main").exists());
    hub.asked();
    hub.open("hf:owner/tiny").ok();
    assert!(hub.asked().iter().any(|asked| asked.range.is_some()));
    assert!(!hub.blobs().iter().any(|name| name.ends_with(".incomplete")));
}

#[test]
fn what_is_damaged_gets_no_name() {
    let hub = Hub::of_a_classifier().with_fault(Fault::Damaged);
    hub.open("hf:owner/tiny").refused(&["onnx/model.onnx", "expected the hash", "damaged", "try again"]);
    assert!(!hub.snapshot(NETWORK).exists());
    assert_eq!(hub.blobs().len(), 2, "the two files of JSON alone");
    hub.set(None);
    hub.open("hf:owner/tiny").ok();
    // A damaged beginning of an earlier time is thrown away.
    let hub = Hub::of_a_classifier();
    let (network, _) = with_weights_beside("model.onnx_data");
    let blobs = hub.store().join("blobs");
    std::fs::create_dir_all(&blobs).unwrap();
    std::fs::write(blobs.join(format!("{}.incomplete", hash(NETWORK, &network))), [7; 9]).unwrap();
    hub.open("hf:owner/tiny").ok();
}

#[test]
fn the_token_is_for_the_hub_alone() {
    let hub = Hub::of_a_classifier();
    let mut command = hub.open("hf:owner/tiny").command();
    command.env("HF_TOKEN", TOKEN);
    Run::from(command).ok();
    for asked in hub.asked() {
        assert_eq!(asked.token.as_deref() == Some("Bearer a secret"), !asked.of_the_store, "{asked:?}");
        assert!(["GET", "HEAD"].contains(&&*asked.method));
    }
}

#[test]
fn refusals_say_what_to_do() {
    let hub = Hub::of_a_classifier().with_fault(Fault::Gated);
    hub.open("hf:owner/tiny").refused(&["access to this model has to be granted", "no token is set", "HF_TOKEN"]);
    hub.set(Some(Fault::Unknown));
    hub.open("hf:owner/tiny").refused(&["no such model", "OWNER/NAME", "HF_TOKEN"]);
    hub.set(None);
    hub.open("hf:owner/tiny@other").refused(&["revision \"other\"", "leave the revision out"]);
    hub.open("hf:tiny").refused(&["expected hf:OWNER/NAME"]);
    let mut command = hub.open("hf:owner/tiny").command();
    command.env("HF_HUB_OFFLINE", "1");
    Run::from(command).refused(&["HF_HUB_OFFLINE is set", "nothing of this model"]);
    let mut command = hub.open("hf:owner/tiny").command();
    // Port 9 discards what it gets, where anybody listens at all.
    command.env("HF_ENDPOINT", "http://127.0.0.1:9");
    Run::from(command).refused(&["http://127.0.0.1:9", "could not be reached", "connection"]);
    let hub = Hub::with(&[("config.json", CONFIG.into()), ("model.safetensors", vec![1])]);
    hub.open("hf:owner/tiny").refused(&["networks in a folder \"onnx\"", "optimum-cli export onnx --model owner/tiny"]);
    let (network, _) = with_weights_beside("../secret");
    let hub = Hub::with(&[
        ("config.json", CONFIG.into()),
        ("preprocessor_config.json", PREPARATION.into()),
        (NETWORK, network),
    ]);
    hub.open("hf:owner/tiny").refused(&["../secret", "beside the network"]);
}
