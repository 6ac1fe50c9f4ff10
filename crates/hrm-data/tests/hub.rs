//! Downloads, from a local server that speaks the hub's protocol.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use hrm_data::DataError;
use hrm_data::hub::{Hub, HubConfig, Repository};
use sha2::Digest;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const NEXT_COMMIT: &str = "76543210fedcba9876543210fedcba9876543210";

/// A file as the hub serves it.
#[derive(Clone)]
struct Served {
    bytes: Vec<u8>,
    etag: String,
    /// Large files are on another host, to which the hub redirects.
    large: bool,
    /// Send only so many bytes of the next answer that has more than one.
    cut: Option<usize>,
}

impl Served {
    fn large(bytes: &[u8]) -> Self {
        Self {
            bytes: bytes.to_vec(),
            etag: hex(&sha2::Sha256::digest(bytes)),
            large: true,
            cut: None,
        }
    }

    fn small(bytes: &[u8]) -> Self {
        let blob = [format!("blob {}\0", bytes.len()).as_bytes(), bytes].concat();
        Self {
            bytes: bytes.to_vec(),
            etag: hex(&sha1::Sha1::digest(blob)),
            large: false,
            cut: None,
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

type Files = Arc<Mutex<BTreeMap<String, Served>>>;

/// A hub with one repository, `owner/name`, which has the newest commit only.
struct Server {
    address: String,
    files: Files,
    /// What `main` stands for.
    commit: Arc<Mutex<String>>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start(files: &[(&str, Served)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let server = Self {
            address,
            files: Arc::default(),
            commit: Arc::default(),
            requests: Arc::default(),
        };
        server.publish(COMMIT, files);
        let (files, commit, requests, address) = (
            server.files.clone(),
            server.commit.clone(),
            server.requests.clone(),
            server.address.clone(),
        );
        // The thread waits for connections until the test program ends.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let _ = answer(stream.unwrap(), &files, &commit, &requests, &address);
            }
        });
        server
    }

    /// Moves `main` on.
    fn publish(&self, commit: &str, files: &[(&str, Served)]) {
        *self.commit.lock().unwrap() = commit.to_owned();
        *self.files.lock().unwrap() = files
            .iter()
            .map(|(name, file)| ((*name).to_owned(), file.clone()))
            .collect();
    }

    fn hub(&self, cache: &Path) -> Hub {
        let config = HubConfig {
            endpoint: Some(self.address.clone()),
            cache_dir: Some(cache.to_owned()),
            progress: false,
        };
        Hub::new(config).unwrap()
    }

    fn count(&self) -> usize {
        self.requests.lock().unwrap().len()
    }
}

fn answer(
    mut stream: TcpStream,
    files: &Files,
    commit: &Mutex<String>,
    requests: &Mutex<Vec<String>>,
    address: &str,
) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().unwrap()?;
    let mut start = 0;
    let mut only_first = false;
    for line in lines
        .map_while(Result::ok)
        .take_while(|line| !line.is_empty())
    {
        if let Some(range) = line.to_lowercase().strip_prefix("range: bytes=") {
            let (from, to) = range.split_once('-').unwrap();
            start = from.parse().unwrap();
            only_first = to == "0";
        }
    }
    let path = request.split(' ').nth(1).unwrap().to_owned();
    requests.lock().unwrap().push(path.clone());
    let commit = commit.lock().unwrap();
    let mut files = files.lock().unwrap();
    if path == "/api/models/owner/name/revision/main" {
        let siblings: Vec<String> = files
            .keys()
            .map(|name| format!(r#"{{"rfilename":"{name}"}}"#))
            .collect();
        let body = format!(
            r#"{{"sha":"{commit}","siblings":[{}]}}"#,
            siblings.join(",")
        );
        return write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
    }
    let (prefix, other_host) = match path.strip_prefix("/elsewhere/") {
        Some(name) => (Some(name), true),
        None => {
            let found = path
                .strip_prefix("/owner/name/resolve/")
                .and_then(|path| path.split_once('/'))
                .filter(|(revision, _)| *revision == "main" || *revision == commit.as_str());
            (found.map(|(_, name)| name), false)
        }
    };
    let Some(file) = prefix.and_then(|name| files.get_mut(name)) else {
        return write!(
            stream,
            "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
    };
    if file.large && !other_host {
        let name = prefix.unwrap_or_default();
        return write!(
            stream,
            "HTTP/1.1 302 Found\r\nLocation: {address}/elsewhere/{name}\r\nX-Repo-Commit: {commit}\r\nX-Linked-Etag: \"{}\"\r\n\
             ETag: \"other\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            file.etag
        );
    }
    let end = if only_first { 1 } else { file.bytes.len() };
    let body = &file.bytes[start..end.max(start)];
    write!(
        stream,
        "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {start}-{}/{}\r\nX-Repo-Commit: {commit}\r\nETag: \"{}\"\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        end - 1,
        file.bytes.len(),
        file.etag,
        body.len()
    )?;
    let sent = match file.cut {
        Some(cut) if !only_first => {
            file.cut = None;
            &body[..cut.min(body.len())]
        }
        _ => body,
    };
    stream.write_all(sent)
}

fn model() -> Repository {
    Repository::Model("owner/name".into())
}

fn weights() -> Vec<u8> {
    (0..100_000u32)
        .map(|i| (i.wrapping_mul(i) >> 7) as u8)
        .collect()
}

#[test]
fn a_checkpoint_and_its_configuration_are_downloaded_once() {
    let server = Server::start(&[
        ("README.md", Served::small(b"# A model\n")),
        ("all_config.yaml", Served::small(b"arch: {num_heads: 8}\n")),
        ("checkpoint", Served::large(&weights())),
    ]);
    let cache = tempfile::tempdir().unwrap();
    let files = server
        .hub(cache.path())
        .fetch_checkpoint(&model(), None, None)
        .unwrap();
    assert_eq!(std::fs::read(&files.weights).unwrap(), weights());
    assert_eq!(
        std::fs::read(files.config.unwrap()).unwrap(),
        b"arch: {num_heads: 8}\n"
    );
    let before = server.count();
    let again = server
        .hub(cache.path())
        .fetch(&model(), None, "checkpoint")
        .unwrap();
    assert_eq!(
        (again, server.count()),
        (files.weights, before),
        "the cache needs no request"
    );
}

#[test]
fn a_branch_that_has_moved_is_followed() {
    let config = |heads: usize| format!("arch: {{num_heads: {heads}}}\n").into_bytes();
    let server = Server::start(&[
        ("all_config.yaml", Served::small(&config(8))),
        ("checkpoint", Served::large(&weights())),
    ]);
    let cache = tempfile::tempdir().unwrap();
    let hub = server.hub(cache.path());
    let read = |path| std::fs::read(path).unwrap();
    let pull = |revision: Option<&str>| {
        let files = hub.fetch_checkpoint(&model(), revision, None).unwrap();
        (read(files.weights), read(files.config.unwrap()))
    };
    assert!(pull(None) == (weights(), config(8)));
    let mut moved = weights();
    moved.reverse();
    server.publish(
        NEXT_COMMIT,
        &[
            ("all_config.yaml", Served::small(&config(4))),
            ("checkpoint", Served::large(&moved)),
        ],
    );
    assert!(pull(None) == (moved.clone(), config(4)));
    let before = server.count();
    assert!(pull(Some("main")) == (moved.clone(), config(4)));
    assert_eq!(server.count(), before + 1, "the list alone");
    // `main` may move between two files: both are asked for by the commit.
    let asked = server.requests.lock().unwrap().clone();
    assert!(!asked.iter().any(|path| path.contains("/resolve/main/")));

    // The cache has both commits, and knows which one `main` is.
    let before = server.count();
    let fetch = |revision: Option<&str>| read(hub.fetch(&model(), revision, "checkpoint").unwrap());
    assert!(fetch(None) == moved);
    assert!(fetch(Some(NEXT_COMMIT)) == moved);
    assert!(fetch(Some(COMMIT)) == weights());
    // Other programs note no commit under its own name.
    std::fs::remove_dir_all(cache.path().join("models--owner--name/refs")).unwrap();
    assert!(fetch(Some(COMMIT)) == weights());
    assert_eq!(server.count(), before, "the cache needs no request");
}

#[test]
fn a_list_without_a_commit_is_refused() {
    let server = Server::start(&[("checkpoint", Served::large(&weights()))]);
    let cache = tempfile::tempdir().unwrap();
    for commit in ["", "main", "../../../escaped"] {
        *server.commit.lock().unwrap() = commit.to_owned();
        let err = server
            .hub(cache.path())
            .fetch_checkpoint(&model(), None, None)
            .unwrap_err()
            .to_string();
        assert!(err.contains("owner/name: expected the commit"), "{err}");
    }
    assert_eq!(std::fs::read_dir(cache.path()).unwrap().count(), 0);
}

#[test]
fn a_download_that_breaks_off_is_continued() {
    let mut file = Served::large(&weights());
    file.cut = Some(30_000);
    let server = Server::start(&[("checkpoint", file)]);
    let cache = tempfile::tempdir().unwrap();
    let path = server
        .hub(cache.path())
        .fetch(&model(), None, "checkpoint")
        .unwrap();
    assert_eq!(std::fs::read(path).unwrap(), weights());
}

#[test]
fn other_bytes_than_announced_are_refused_and_not_kept() {
    for kind in [Served::large, Served::small] {
        let mut file = kind(&weights());
        file.bytes[5] ^= 1;
        let server = Server::start(&[("checkpoint", file)]);
        let cache = tempfile::tempdir().unwrap();
        let hub = server.hub(cache.path());
        let err = hub.fetch(&model(), None, "checkpoint").unwrap_err();
        assert!(matches!(err, DataError::Download { .. }), "{err}");
        server
            .files
            .lock()
            .unwrap()
            .insert("checkpoint".into(), kind(&weights()));
        let path = hub.fetch(&model(), None, "checkpoint").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), weights());
        // Damage in the cache is found as well.
        std::fs::write(path.canonicalize().unwrap(), b"damaged").unwrap();
        let err = hub.fetch(&model(), None, "checkpoint").unwrap_err();
        assert!(err.to_string().contains("thrown away"), "{err}");
        assert_eq!(
            std::fs::read(hub.fetch(&model(), None, "checkpoint").unwrap()).unwrap(),
            weights()
        );
    }
}

#[test]
fn what_the_hub_does_not_have_is_named() {
    let server = Server::start(&[("README.md", Served::small(b"x"))]);
    let cache = tempfile::tempdir().unwrap();
    let hub = server.hub(cache.path());
    let message = |result: Result<_, DataError>| {
        result
            .map(|_: std::path::PathBuf| ())
            .unwrap_err()
            .to_string()
    };
    let err = message(hub.fetch(&model(), None, "checkpoint"));
    assert!(
        err.contains("owner/name/resolve/main/checkpoint: the hub knows no such"),
        "{err}"
    );
    let other = Repository::DataSet("owner/other".into());
    assert!(
        hub.list(&other, None)
            .unwrap_err()
            .to_string()
            .contains("owner/other: the hub knows no such")
    );
    let err = hub
        .fetch_checkpoint(&model(), None, None)
        .unwrap_err()
        .to_string();
    assert!(
        err.contains("expected a file of weights, found README.md"),
        "{err}"
    );
    let before = server.count();
    for name in ["name", "../name", "owner/name/more", "owner/na me"] {
        assert!(
            hub.list(&Repository::Model(name.into()), None)
                .unwrap_err()
                .to_string()
                .contains("as `owner/name`")
        );
    }
    assert!(
        message(hub.fetch(&model(), None, "../checkpoint")).contains("expected the name of a file")
    );
    assert!(
        message(hub.fetch(&model(), Some("../.."), "checkpoint"))
            .contains("expected the name of a revision")
    );
    assert_eq!(server.count(), before, "malformed names are not sent");
}

#[test]
fn a_hub_that_lies_about_checksums_writes_nothing_outside_the_cache() {
    let mut file = Served::small(b"x");
    file.etag = "../../../escaped".into();
    let server = Server::start(&[("checkpoint", file)]);
    let cache = tempfile::tempdir().unwrap();
    let err = server
        .hub(&cache.path().join("a/b"))
        .fetch(&model(), None, "checkpoint")
        .unwrap_err();
    assert!(err.to_string().contains("expected checksums"), "{err}");
    assert_eq!(std::fs::read_dir(cache.path()).unwrap().count(), 0);
}

#[test]
fn a_hub_that_is_not_there_is_an_error() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let cache = tempfile::tempdir().unwrap();
    let config = HubConfig {
        endpoint: Some(endpoint.clone()),
        cache_dir: Some(cache.path().into()),
        progress: false,
    };
    let err = Hub::new(config)
        .unwrap()
        .fetch(&model(), None, "checkpoint")
        .unwrap_err();
    assert!(err.to_string().starts_with(&endpoint), "{err}");
}
