//! What is asked of the hub: which files a commit has, their sizes and hashes, and their bytes.

use super::cache::is_commit;
use anyhow::{Context, Result, anyhow, bail, ensure};
use serde::Deserialize;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write as _};
use std::path::Path;
use std::time::Duration;
use ureq::http::{Response, header};
use ureq::{Agent, Body};

/// How often a file is begun again, or gone on with, when the connection breaks.
const TRIES: usize = 5;
/// How many times an answer may send on to another address.
const MOST_REDIRECTS: usize = 10;
/// The longest list of files that is read, in bytes.
const LONGEST_LISTING: u64 = 50 << 20;
/// A connection that says nothing for so long is given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// A client for one model.
pub(super) struct Client {
    agent: Agent,
    endpoint: String,
    token: Option<String>,
    name: String,
}

/// The files of a commit.
pub(super) struct Listing {
    pub(super) commit: String,
    pub(super) files: BTreeSet<String>,
}

/// What is known of a file before it is fetched.
pub(super) struct State {
    pub(super) size: u64,
    /// SHA-256 of a large file, git's hash of a small one: 64 or 40 hexadecimal digits.
    pub(super) hash: String,
}

#[derive(Deserialize)]
struct Revision {
    sha: String,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
}

impl Client {
    pub(super) fn new(endpoint: &str, token: Option<&str>, name: &str) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            // Followed by hand: what the hub says of a file stands in its own answer, and the token is for the hub alone.
            .max_redirects(0)
            .timeout_connect(Some(PATIENCE))
            .timeout_recv_response(Some(PATIENCE))
            .timeout_per_read(Some(PATIENCE))
            .user_agent(concat!("decomcam/", env!("CARGO_PKG_VERSION")));
        Self {
            agent: config.build().into(),
            endpoint: endpoint.to_owned(),
            token: token.map(str::to_owned),
            name: name.to_owned(),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The commit that a revision is, and its files.
    pub(super) fn listing(&self, revision: &str) -> Result<Listing> {
        let url = format!("{}/api/models/{}/revision/{}", self.endpoint, self.name, revision.replace('/', "%2F"));
        let (response, _) = self.ask(&url, false, None)?;
        self.check(&response, &format!("revision \"{revision}\""))?;
        let mut text = Vec::new();
        let read = response.into_body().into_reader().take(LONGEST_LISTING).read_to_end(&mut text);
        let broken = || format!("{url}: expected the list of this model's files");
        read.with_context(broken)?;
        let found: Revision = serde_json::from_slice(&text).with_context(broken)?;
        ensure!(is_commit(&found.sha), "{}: it names the commit \"{}\"", broken(), found.sha);
        Ok(Listing { commit: found.sha, files: found.siblings.into_iter().map(|file| file.rfilename).collect() })
    }

    fn url(&self, commit: &str, file: &str) -> String {
        format!("{}/{}/resolve/{commit}/{file}", self.endpoint, self.name)
    }

    /// Size and hash of a file.
    pub(super) fn state(&self, commit: &str, file: &str) -> Result<State> {
        let url = self.url(commit, file);
        let (response, told) = self.ask(&url, true, None)?;
        self.check(&response, &format!("the file \"{file}\""))?;
        // The hub's own word stands in an answer that sends on to where the bytes are, or in the last one.
        let answers = || told.iter().chain([response.headers()]);
        let first = |linked: &str, own: &str| {
            answers().find_map(|answer| text(answer, linked)).or_else(|| text(response.headers(), own))
        };
        let hash = first("x-linked-etag", "etag").unwrap_or_default();
        let hash = hash.trim_start_matches("W/").trim_matches('"').to_ascii_lowercase();
        let known = matches!(hash.len(), 40 | 64) && hash.bytes().all(|letter| letter.is_ascii_hexdigit());
        ensure!(known, "{url}: expected an ETag that is the file's hash, found \"{hash}\"; is HF_ENDPOINT a hub?");
        let size = first("x-linked-size", "content-length").and_then(|size| size.parse().ok());
        Ok(State { size: size.with_context(|| format!("{url}: expected the file's size"))?, hash })
    }

    /// Completes a file, whose beginning may be there from an earlier time, and checks it. It is removed if it turns out to be damaged.
    pub(super) fn download(
        &self,
        commit: &str,
        file: &str,
        state: &State,
        partial: &Path,
        told: &dyn Fn(u64) -> Result<()>,
    ) -> Result<()> {
        let url = self.url(commit, file);
        let begun = length(partial) > 0;
        let mut failure = None;
        for _ in 0..TRIES {
            match self.go_on(&url, file, state.size, partial, told) {
                Ok(()) => failure = None,
                Err(Broken::ForGood(error)) => return Err(error),
                Err(Broken::Meanwhile(error)) => {
                    failure = Some(error);
                    continue;
                }
            }
            break;
        }
        if let Some(error) = failure {
            return Err(error.context(format!(
                "{url}: the connection broke {TRIES} times, {} of {} bytes are here; give the command again to go on from there",
                length(partial),
                state.size
            )));
        }
        let found = hash_of(partial, state)?;
        if found == state.hash {
            return Ok(());
        }
        let _ = std::fs::remove_file(partial);
        if begun {
            // What was there may have been the damaged part.
            return self.download(commit, file, state, partial, told);
        }
        bail!(
            "{url}: expected the hash {}, found {found}: what came is damaged, and was thrown away; try again",
            state.hash
        )
    }

    /// Fetches what a file lacks.
    fn go_on(
        &self,
        url: &str,
        file: &str,
        size: u64,
        partial: &Path,
        told: &dyn Fn(u64) -> Result<()>,
    ) -> Result<(), Broken> {
        let mut from = length(partial);
        if from > size {
            std::fs::remove_file(partial).context("could not remove a damaged file")?;
            from = 0;
        }
        told(from)?;
        if from == size && size > 0 {
            return Ok(());
        }
        let (response, _) = self.ask(url, false, Some(from).filter(|from| *from > 0)).map_err(Broken::Meanwhile)?;
        if response.status().is_server_error() {
            return Err(Broken::Meanwhile(anyhow!("{url}: the hub answered {}", response.status())));
        }
        self.check(&response, &format!("the file \"{file}\""))?;
        let goes_on = response.status().as_u16() == 206 && begins_at(&response, from);
        let failed = || format!("{}: could not write into the cache; is there space on the disk?", partial.display());
        let mut open = OpenOptions::new();
        open.create(true).write(true);
        if goes_on {
            open.append(true);
        } else {
            from = 0;
            open.truncate(true);
        }
        let mut out = open.open(partial).with_context(failed)?;
        // One byte more than is due tells a file that is longer than it said.
        let mut body = response.into_body().into_reader().take(size.saturating_sub(from) + 1);
        let mut piece = vec![0; 1 << 16];
        let mut done = from;
        loop {
            let count = match body.read(&mut piece) {
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(Broken::Meanwhile(error.into())),
            };
            if count == 0 {
                break;
            }
            out.write_all(&piece[..count]).with_context(failed)?;
            done += count as u64;
            if done > size {
                drop(out);
                let _ = std::fs::remove_file(partial);
                return Err(anyhow!("{url}: expected {size} bytes, found more; try again").into());
            }
            told(done)?;
        }
        if done < size {
            return Err(Broken::Meanwhile(anyhow!("expected {size} bytes, the connection ended after {done}")));
        }
        Ok(out.sync_all().with_context(failed)?)
    }

    /// An answer, and the headers of those that sent on to it.
    fn ask(&self, url: &str, head: bool, from: Option<u64>) -> Result<(Response<Body>, Vec<header::HeaderMap>)> {
        let (mut url, mut passed) = (url.to_owned(), Vec::new());
        for _ in 0..=MOST_REDIRECTS {
            let mut request = if head { self.agent.head(&url) } else { self.agent.get(&url) };
            // Sizes are those of the bytes as they are.
            request = request.header(header::ACCEPT_ENCODING, "identity");
            if let Some(token) = self.token.as_ref().filter(|_| origin(&url) == origin(&self.endpoint)) {
                request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
            }
            if let Some(from) = from {
                request = request.header(header::RANGE, format!("bytes={from}-"));
            }
            let response = request.call().map_err(|error| {
                anyhow!(
                    "{}: could not be reached: {error}; check the connection, HTTPS_PROXY or HF_ENDPOINT. What the cache has needs no connection",
                    origin(&url)
                )
            })?;
            let location = text(response.headers(), "location").filter(|_| response.status().is_redirection());
            let Some(location) = location else { return Ok((response, passed)) };
            passed.push(response.headers().clone());
            url = if location.starts_with('/') && !location.starts_with("//") {
                format!("{}{location}", origin(&url))
            } else {
                location
            };
            ensure!(
                url.starts_with("https://") || (url.starts_with("http://") && self.endpoint.starts_with("http://")),
                "{}: expected to be sent on to an address of https, found {url}",
                self.endpoint
            );
        }
        bail!("{url}: sent on more than {MOST_REDIRECTS} times")
    }

    /// Refuses answers that are not what was asked for.
    fn check(&self, response: &Response<Body>, what: &str) -> Result<()> {
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        let Self { name, endpoint, .. } = self;
        let code = text(response.headers(), "x-error-code").unwrap_or_default();
        let token = if self.token.is_some() { "the token that is set has no right to it" } else { "no token is set" };
        match (status.as_u16(), &*code) {
            (_, "GatedRepo") | (403, _) => bail!(
                "hf:{name}: access to this model has to be granted, and {token}; ask for it on {endpoint}/{name}, then set HF_TOKEN to your token"
            ),
            (_, "RevisionNotFound") => {
                bail!("hf:{name}: expected {what}, found none; leave the revision out for the newest")
            }
            (_, "EntryNotFound") => bail!("hf:{name}: expected {what}, found none"),
            // The hub does not tell whether a model that one may not see is there.
            (401 | 404, _) => bail!(
                "hf:{name}: no such model at {endpoint}, or it is private, and {token}; names are OWNER/NAME, such as Xenova/clip-vit-base-patch32; for a private one set HF_TOKEN"
            ),
            (429, _) => bail!("{endpoint}: too many requests; wait some minutes, or set HF_TOKEN"),
            _ => bail!("{endpoint}: the hub answered {status} for {what} of {name}; try again later"),
        }
    }
}

/// Why a download stopped: whether to try again.
enum Broken {
    Meanwhile(anyhow::Error),
    ForGood(anyhow::Error),
}

impl From<anyhow::Error> for Broken {
    fn from(error: anyhow::Error) -> Self {
        Self::ForGood(error)
    }
}

fn text(headers: &header::HeaderMap, name: &str) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}

/// Scheme, host and port of an address.
fn origin(url: &str) -> &str {
    let host = url.find("://").map_or(0, |at| at + 3);
    let end = url[host..].find('/').map_or(url.len(), |at| host + at);
    &url[..end]
}

fn begins_at(response: &Response<Body>, from: u64) -> bool {
    text(response.headers(), "content-range").is_some_and(|range| range.starts_with(&format!("bytes {from}-")))
}

fn length(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |file| file.len())
}

/// The hash of a file, of the kind that the hub has for it.
fn hash_of(path: &Path, state: &State) -> Result<String> {
    let found = if state.hash.len() == 64 {
        hexadecimal(path, Sha256::new())
    } else {
        // As git does.
        hexadecimal(path, Sha1::new_with_prefix(format!("blob {}\0", state.size)))
    };
    found.with_context(|| format!("{}: could not read the file", path.display()))
}

fn hexadecimal<D: Digest>(path: &Path, mut hash: D) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let mut piece = vec![0; 1 << 16];
    loop {
        let count = file.read(&mut piece)?;
        if count == 0 {
            break;
        }
        hash.update(&piece[..count]);
    }
    Ok(hash.finalize().iter().fold(String::new(), |mut digits, byte| {
        let _ = write!(digits, "{byte:02x}");
        digits
    }))
}
