//! Downloads that survive a connection that breaks: what has come is kept, and the rest asked for.

use std::fs;
use std::io::Read;
use std::thread::sleep;
use std::time::Duration;

use sha2::{Digest, Sha256};
use ureq::http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, ETAG, LOCATION, RANGE};
use ureq::http::{HeaderMap, Response, Uri};
use ureq::{Agent, Body};

use super::Hub;
use super::cache::Cached;
use super::error::HubError;
use super::files::Remote;
use super::name::{ModelName, is_plain};
use super::partial::{Partial, Told};
use crate::files::hexadecimal;

/// Attempts one after the other that bring nothing.
const TRIES: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const MOST_HOPS: usize = 10;
const MOST_TEXT: u64 = 1 << 24;

/// A connection to the hub.
pub struct Client<'a> {
    hub: &'a Hub,
    agent: Agent,
}

/// Why a request brought nothing.
enum Failed {
    /// It may work another time.
    Now(String),
    ForGood(HubError),
}

impl<'a> Client<'a> {
    pub fn new(hub: &'a Hub) -> Self {
        let agent = Agent::config_builder()
            .timeout_resolve(Some(hub.timeout))
            .timeout_connect(Some(hub.timeout))
            .timeout_recv_response(Some(hub.timeout))
            .timeout_per_read(Some(hub.timeout))
            .http_status_as_error(false)
            // Followed here: the first answer says what the file is, and the token is for the hub alone.
            .max_redirects(0)
            .build()
            .into();
        Self { hub, agent }
    }

    /// The address of a path of the hub.
    pub fn address(&self, path: &str) -> String {
        format!("{}{path}", self.hub.endpoint.trim_end_matches('/'))
    }

    /// A short text.
    pub fn text(&self, name: &ModelName, path: &str) -> Result<String, HubError> {
        let mut tries = 0;
        loop {
            let attempt = || {
                let (response, _) = self.get(name, &self.address(path), 0)?;
                let text = response.into_body().into_with_config().limit(MOST_TEXT).read_to_string();
                text.map_err(|error| Failed::Now(error.to_string()))
            };
            tries += 1;
            match attempt() {
                Ok(text) => return Ok(text),
                Err(Failed::ForGood(error)) => return Err(error),
                Err(Failed::Now(_)) if tries < TRIES => sleep(FIRST_PAUSE * 2u32.pow(tries - 1)),
                Err(Failed::Now(reason)) => {
                    let (endpoint, cache) = (self.hub.endpoint.clone(), self.hub.cache.clone());
                    let (name, models) = (Box::new(name.clone()), self.hub.models());
                    return Err(HubError::Unreachable { name, endpoint, reason, cache, models });
                }
            }
        }
    }

    /// Downloads a file into the blobs of a cache, if it is not there, and returns what it is called among them.
    pub fn file(
        &self,
        cached: &Cached,
        (name, commit): (&ModelName, &str),
        remote: &Remote,
        progress: &mut dyn FnMut(u64, Option<u64>),
    ) -> Result<String, HubError> {
        if let Some(hash) = &remote.hash {
            let found = fs::metadata(cached.blob(hash));
            if found.is_ok_and(|found| found.is_file() && remote.size.is_none_or(|size| size == found.len()))
            {
                return Ok(hash.clone());
            }
        }
        let unnamed = || hexadecimal(&Sha256::digest(format!("{commit}/{}", remote.name)));
        let key = remote.hash.clone().unwrap_or_else(unnamed);
        let mut partial = Partial::open(cached.blob(&format!("{key}.incomplete")))?;
        let mut told = Told { size: remote.size, hash: remote.hash.clone() };
        let url =
            self.address(&format!("/{}/{}/resolve/{commit}/{}", name.org, name.name, encoded(&remote.name)));
        let mut tries = 0;
        loop {
            let had = partial.length;
            match self.rest(name, &url, &mut partial, &mut told, progress) {
                Ok(()) => break,
                Err(Failed::ForGood(error)) => return Err(error),
                Err(Failed::Now(reason)) => {
                    tries = if partial.length > had { 1 } else { tries + 1 };
                    if tries >= TRIES {
                        let (name, file, have) =
                            (Box::new(name.clone()), remote.name.clone(), partial.length);
                        return Err(HubError::Broken { name, file, reason, have });
                    }
                    sleep(FIRST_PAUSE * 2u32.pow(tries - 1));
                }
            }
        }
        let wrong = |expected, found| HubError::Wrong {
            name: Box::new(name.clone()),
            file: remote.name.clone(),
            expected,
            found,
        };
        let hash = partial.check(&told, wrong)?;
        partial.keep(&cached.blob(&hash))?;
        Ok(hash)
    }

    /// Appends what is missing.
    fn rest(
        &self,
        name: &ModelName,
        url: &str,
        partial: &mut Partial,
        told: &mut Told,
        progress: &mut dyn FnMut(u64, Option<u64>),
    ) -> Result<(), Failed> {
        if told.size.is_some_and(|size| partial.length > size) {
            partial.restart()?;
        }
        if partial.length > 0 && told.size == Some(partial.length) {
            return Ok(());
        }
        let (response, first) = self.get(name, url, partial.length)?;
        let headers = response.headers();
        let begins = content_range(headers);
        match (response.status().as_u16(), begins) {
            (206, Some((start, _))) if start == partial.length => {}
            (200, _) => partial.restart()?,
            (status, _) => {
                partial.restart()?;
                return Err(Failed::Now(format!("the answer to a request for the rest is {status}")));
            }
        }
        let whole = begins.and_then(|(_, whole)| whole);
        let length = number(headers, CONTENT_LENGTH.as_str()).filter(|_| response.status().as_u16() == 200);
        told.size = told.size.or(number(&first, "x-linked-size")).or(whole).or(length);
        told.hash = told.hash.take().or_else(|| hash(&first));
        let mut body = response.into_body().into_reader();
        let mut buffer = vec![0; 1 << 16];
        loop {
            progress(partial.length, told.size);
            let count = body.read(&mut buffer).map_err(|error| Failed::Now(error.to_string()))?;
            if count == 0 {
                break;
            }
            partial.append(&buffer[..count])?;
            // More than there should be is another file.
            if told.size.is_some_and(|size| partial.length > size) {
                break;
            }
        }
        match told.size {
            Some(size) if partial.length < size => {
                Err(Failed::Now(format!("it ended after {} of {size} bytes", partial.length)))
            }
            _ => Ok(()),
        }
    }

    /// The answer to a request for all from byte `start` on, and the headers of the first answer on the way there.
    fn get(&self, name: &ModelName, url: &str, start: u64) -> Result<(Response<Body>, HeaderMap), Failed> {
        let (mut url, mut first) = (url.to_owned(), None);
        for _ in 0..MOST_HOPS {
            let mut request = self.agent.get(&url);
            if let Some(token) = self.hub.token.as_ref().filter(|_| same_host(&url, &self.hub.endpoint)) {
                request = request.header(AUTHORIZATION, format!("Bearer {token}"));
            }
            if start > 0 {
                request = request.header(RANGE, format!("bytes={start}-"));
            }
            let response = request.call().map_err(|error| Failed::Now(error.to_string()))?;
            let (name, endpoint) = (Box::new(name.clone()), self.hub.endpoint.clone());
            let status = response.status();
            match status.as_u16() {
                200 | 206 | 416 => {
                    let headers = first.unwrap_or_else(|| response.headers().clone());
                    return Ok((response, headers));
                }
                301 | 302 | 303 | 307 | 308 => {
                    let target = response.headers().get(LOCATION).and_then(|target| target.to_str().ok());
                    let target =
                        target.ok_or_else(|| Failed::Now(format!("{url} leads nowhere ({status})")))?;
                    let next = followed(&url, target);
                    first.get_or_insert_with(|| response.headers().clone());
                    if url.starts_with("https:") && !next.starts_with("https:") {
                        let what = format!("it leads to {next}, which is not encrypted");
                        return Err(Failed::ForGood(HubError::NotUnderstood { url, what }));
                    }
                    url = next;
                }
                401 | 403 => return Err(Failed::ForGood(HubError::Denied { name, endpoint })),
                404 => return Err(Failed::ForGood(HubError::Unknown { name, endpoint })),
                408 | 429 | 500.. => return Err(Failed::Now(format!("{url} answers {status}"))),
                _ => {
                    let what = format!("it answers {status}");
                    return Err(Failed::ForGood(HubError::NotUnderstood { url, what }));
                }
            }
        }
        Err(Failed::ForGood(HubError::NotUnderstood { url, what: "it leads on and on".into() }))
    }
}

impl From<HubError> for Failed {
    fn from(error: HubError) -> Self {
        Self::ForGood(error)
    }
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

/// Where the bytes of an answer begin, and how many there are of the whole file, as in `bytes 5-9/10`.
fn content_range(headers: &HeaderMap) -> Option<(u64, Option<u64>)> {
    let range = headers.get(CONTENT_RANGE)?.to_str().ok()?.strip_prefix("bytes ")?;
    let (span, whole) = range.split_once('/')?;
    Some((span.split_once('-')?.0.parse().ok()?, whole.parse().ok()))
}

/// What the hub calls the content of a file.
fn hash(headers: &HeaderMap) -> Option<String> {
    let tag = headers.get("x-linked-etag").or(headers.get(ETAG))?.to_str().ok()?;
    let tag = tag.trim_start_matches("W/").trim_matches('"');
    Some(tag.to_owned()).filter(|tag| is_plain(tag))
}

/// A name of a file in an address.
fn encoded(file: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => {
            char::from(byte).to_string()
        }
        other => format!("%{other:02X}"),
    };
    file.bytes().map(encode).collect()
}

/// The address that an answer of `url` leads to.
fn followed(url: &str, target: &str) -> String {
    if target.contains("://") {
        return target.to_owned();
    }
    let (scheme, rest) = url.split_once("://").unwrap_or(("https", url));
    let host = rest.split('/').next().unwrap_or_default();
    match target.strip_prefix("//") {
        Some(target) => format!("{scheme}://{target}"),
        None if target.starts_with('/') => format!("{scheme}://{host}{target}"),
        None => format!("{}/{target}", url.rsplit_once('/').map_or(url, |(folder, _)| folder)),
    }
}

fn same_host(url: &str, other: &str) -> bool {
    let host = |url: &str| {
        let url: Uri = url.parse().ok()?;
        Some((url.scheme_str()?.to_owned(), url.authority()?.to_string()))
    };
    host(url).is_some() && host(url) == host(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_lead_where_they_say() {
        for (target, wanted) in [
            ("https://cdn.example/x?a=b", "https://cdn.example/x?a=b"),
            ("//cdn.example/x", "https://cdn.example/x"),
            ("/a/b", "https://hub.example:8/a/b"),
            ("c", "https://hub.example:8/p/c"),
        ] {
            assert_eq!(followed("https://hub.example:8/p/q", target), wanted);
        }
    }

    #[test]
    fn the_token_is_for_the_hub_alone() {
        assert!(same_host("https://hub.example/a/b", "https://hub.example"));
        for other in
            ["http://hub.example/a", "https://hub.example:8/a", "https://hub.example.org/a", "nonsense"]
        {
            assert!(!same_host(other, "https://hub.example"), "{other}");
        }
    }
}
