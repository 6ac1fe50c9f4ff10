//! The published data sets, from a local server that speaks as the hub and as GitHub do.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use flate2::Compression;
use flate2::write::GzEncoder;
use hrm_data::hub::{DownloadConfig, Placed, Published};
use hrm_data::sudoku::SudokuSize;
use hrm_data::{DataError, arc, sudoku};
use sha2::Digest;

/// What the server has under a path.
#[derive(Clone, Default)]
struct Served {
    bytes: Vec<u8>,
    /// Sent as `X-Linked-Etag` of a redirection where `large`, else as `ETag`.
    tag: Option<String>,
    large: bool,
    /// Whether it answers requests for a part.
    ranges: bool,
    /// Whether it says how much there is.
    length: bool,
    /// Breaks off answers after so many bytes, the first one first.
    cuts: Vec<usize>,
    /// Answers with this status, the first one first: 200 as it would without, a redirection leads to the same path.
    statuses: Vec<u16>,
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A large file of the hub.
fn large(bytes: &[u8]) -> Served {
    Served {
        tag: Some(hex(&sha2::Sha256::digest(bytes))),
        large: true,
        ..small(bytes)
    }
}

/// A small file of the hub.
fn small(bytes: &[u8]) -> Served {
    let blob = [format!("blob {}\0", bytes.len()).as_bytes(), bytes].concat();
    Served {
        bytes: bytes.to_vec(),
        tag: Some(hex(&sha1::Sha1::digest(blob))),
        ranges: true,
        length: true,
        ..Served::default()
    }
}

/// An archive of GitHub: made when it is asked for, so that nobody knows its size, and no part of it can be had.
fn archive(files: &[(&str, &str)]) -> Served {
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (path, text) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        let path = format!("Repository-0123456/{path}");
        tar.append_data(&mut header, path, text.as_bytes()).unwrap();
    }
    Served {
        bytes: tar.into_inner().unwrap().finish().unwrap(),
        tag: Some("not a checksum".into()),
        ..Served::default()
    }
}

type Files = Arc<Mutex<BTreeMap<String, Served>>>;

struct Server {
    address: String,
    files: Files,
    /// Path and first byte of every request.
    requests: Arc<Mutex<Vec<(String, u64)>>>,
}

impl Server {
    fn start(files: &[(&str, Served)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self {
            address: format!("http://{}", listener.local_addr().unwrap()),
            files: Files::default(),
            requests: Arc::default(),
        };
        for (path, file) in files {
            server.put(path, file.clone());
        }
        let (files, requests) = (server.files.clone(), server.requests.clone());
        // The thread waits for connections until the test program ends.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let _ = answer(stream.unwrap(), &files, &requests);
            }
        });
        server
    }

    /// A hub with the two files of a data set.
    fn hub(set: Published, train: Served, test: Served) -> Self {
        let path = |name| format!("/datasets/{}/resolve/main/{name}", set.repository());
        Self::start(&[(&path("train.csv"), train), (&path("test.csv"), test)])
    }

    fn put(&self, path: &str, file: Served) {
        self.files.lock().unwrap().insert(path.to_owned(), file);
    }

    fn config(&self) -> DownloadConfig {
        DownloadConfig {
            endpoint: Some(self.address.clone()),
            ..DownloadConfig::default()
        }
    }

    fn download(&self, set: Published, folder: &Path) -> Result<Placed, DataError> {
        download(set, &self.config(), folder)
    }

    /// First bytes of the requests for a file, its redirections left out.
    fn starts(&self, name: &str) -> Vec<u64> {
        let requests = self.requests.lock().unwrap();
        let of_file = |(path, _): &&(String, u64)| {
            path.ends_with(name)
                && (path.starts_with("/elsewhere/") || !path.contains("/datasets/"))
        };
        requests
            .iter()
            .filter(of_file)
            .map(|(_, start)| *start)
            .collect()
    }
}

/// Downloads into `folder/parts` and places into `folder/set`.
fn download(set: Published, config: &DownloadConfig, folder: &Path) -> Result<Placed, DataError> {
    let to = folder.join("set");
    fs::create_dir_all(&to).unwrap();
    let mut last = 0;
    let mut progress = |progress: hrm_data::hub::Progress| {
        assert!(progress.total.is_none_or(|total| progress.done <= total));
        last = progress.done;
    };
    let download = set.fetch(config, folder.join("parts"), &mut progress)?;
    download.place(&to)
}

fn answer(
    mut stream: TcpStream,
    files: &Files,
    requests: &Mutex<Vec<(String, u64)>>,
) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().unwrap()?;
    let headers: Vec<String> = lines
        .map_while(Result::ok)
        .take_while(|line| !line.is_empty())
        .map(|line| line.to_lowercase())
        .collect();
    let start = headers.iter().find_map(|line| {
        let (from, _) = line.strip_prefix("range: bytes=")?.split_once('-')?;
        from.parse::<usize>().ok()
    });
    let path = request.split(' ').nth(1).unwrap().to_owned();
    requests
        .lock()
        .unwrap()
        .push((path.clone(), start.unwrap_or(0) as u64));
    let elsewhere = path.strip_prefix("/elsewhere");
    let mut files = files.lock().unwrap();
    let close = "Connection: close\r\n\r\n";
    let Some(file) = files.get_mut(elsewhere.unwrap_or(&path)) else {
        return write!(
            stream,
            "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n{close}"
        );
    };
    let status = (!file.statuses.is_empty()).then(|| file.statuses.remove(0));
    if let Some(status) = status.filter(|&status| status != 200) {
        return write!(
            stream,
            "HTTP/1.1 {status} No\r\nLocation: {path}\r\nContent-Length: 0\r\n{close}"
        );
    }
    let tag = file.tag.clone().unwrap_or_default();
    if file.large && elsewhere.is_none() {
        return write!(
            stream,
            "HTTP/1.1 302 Found\r\nLocation: /elsewhere{path}\r\nX-Linked-Etag: \"{tag}\"\r\nX-Linked-Size: {}\r\n\
             ETag: \"other\"\r\nContent-Length: 0\r\n{close}",
            file.bytes.len()
        );
    }
    let size = file.bytes.len();
    let start = start.filter(|_| file.ranges);
    let mut head = match start {
        Some(start) if start >= size => {
            return write!(
                stream,
                "HTTP/1.1 416 No\r\nContent-Range: bytes */{size}\r\nETag: \"{tag}\"\r\nContent-Length: 0\r\n{close}"
            );
        }
        Some(start) => format!(
            "HTTP/1.1 206 Partial\r\nContent-Range: bytes {start}-{}/{size}\r\n",
            size - 1
        ),
        None => "HTTP/1.1 200 OK\r\n".to_owned(),
    };
    let body = &file.bytes[start.unwrap_or(0)..];
    let tag = if file.large { "other" } else { &tag };
    if !tag.is_empty() {
        head += &format!("ETag: \"{tag}\"\r\n");
    }
    if file.length {
        head += &format!("Content-Length: {}\r\n", body.len());
    } else {
        head += "Transfer-Encoding: chunked\r\n";
    }
    write!(stream, "{head}{close}")?;
    let sent = match file.cuts.is_empty() {
        true => body.len(),
        false => file.cuts.remove(0).min(body.len()),
    };
    if file.length {
        return stream.write_all(&body[..sent]);
    }
    write!(stream, "{sent:x}\r\n")?;
    stream.write_all(&body[..sent])?;
    let end = if sent == body.len() {
        "\r\n0\r\n\r\n"
    } else {
        "\r\n"
    };
    stream.write_all(end.as_bytes())
}

/// Some Sudokus as the hub has them.
fn csv(count: usize, seed: u64) -> Vec<u8> {
    let puzzles = sudoku::Generator::new(SudokuSize::Four)
        .puzzles(count, seed)
        .unwrap();
    let mut text = "source,question,answer,rating\n".to_owned();
    for puzzle in puzzles {
        text += &format!("made,{},{},0\n", puzzle.question, puzzle.answer);
    }
    text.into_bytes()
}

/// Bytes that look like nothing.
fn noise(count: u32, seed: u32) -> Vec<u8> {
    (0..count)
        .map(|i| ((i ^ seed).wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect()
}

fn said(result: Result<Placed, DataError>) -> String {
    result.unwrap_err().to_string()
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

const SUDOKU: Published = Published::SudokuExtreme;

#[test]
fn files_of_the_hub_are_what_the_builder_reads() {
    let server = Server::hub(SUDOKU, large(&csv(30, 1)), small(&csv(4, 2)));
    let folder = tempfile::tempdir().unwrap();
    let placed = server.download(SUDOKU, folder.path()).unwrap();
    assert_eq!(placed.repository, "sapientinc/sudoku-extreme");
    let set = folder.path().join("set");
    assert_eq!(names(&set), ["download.json", "test.csv", "train.csv"]);
    for (file, count) in [("train.csv", 30), ("test.csv", 4)] {
        assert_eq!(sudoku::read_csv(set.join(file), None).unwrap().len(), count);
    }
    let record: serde_json::Value =
        serde_json::from_slice(&fs::read(set.join("download.json")).unwrap()).unwrap();
    assert_eq!(record["set"], "sudoku-extreme");
    assert_eq!(
        record["files"][0]["sha256"],
        hex(&sha2::Sha256::digest(csv(30, 1)))
    );
    assert_eq!(record["files"][1]["bytes"], csv(4, 2).len());
    // What is there is not downloaded again.
    let before = server.requests.lock().unwrap().len();
    fs::remove_dir_all(&set).unwrap();
    assert_eq!(server.download(SUDOKU, folder.path()).unwrap(), placed);
    assert_eq!(server.requests.lock().unwrap().len(), before);
}

#[test]
fn archives_of_github_are_what_the_builder_reads() {
    const TASK: &str = r#"{"train": [{"input": [[1]], "output": [[2]]}], "test": [{"input": [[3]], "output": [[4]]}]}"#;
    let tasks = archive(&[
        ("LICENSE", "Apache License"),
        ("apps/index.html", "<html>"),
        ("data/training/a.json", TASK),
        ("data/training/b.json", TASK),
        ("data/evaluation/c.json", TASK),
    ]);
    let sha256 = hex(&sha2::Sha256::digest(&tasks.bytes));
    let server = Server::start(&[("/fchollet/ARC-AGI/archive/HEAD.tar.gz", tasks)]);
    let folder = tempfile::tempdir().unwrap();
    let placed = server.download(Published::ArcAgi1, folder.path()).unwrap();
    assert_eq!((placed.tasks, &placed.files[0].sha256), (Some(3), &sha256));
    let set = folder.path().join("set");
    assert_eq!(names(&set), ["LICENSE", "data", "download.json"]);
    assert_eq!(
        arc::read_folder(set.join("data/training")).unwrap().len(),
        2
    );

    let concepts = archive(&[
        ("README.md", "# ConceptARC"),
        ("corpus/Copy/Copy1.json", TASK),
        ("corpus/Above/Above1.json", TASK),
        ("MinimalTasks/x.json", TASK),
    ]);
    server.put("/victorvikram/ConceptARC/archive/v1.tar.gz", concepts);
    let folder = tempfile::tempdir().unwrap();
    let config = DownloadConfig {
        revision: Some("v1".into()),
        ..server.config()
    };
    download(Published::ConceptArc, &config, folder.path()).unwrap();
    let corpus = folder.path().join("set/corpus");
    assert_eq!(arc::read_folders(&corpus).unwrap().len(), 2);
}

#[test]
fn a_connection_that_is_cut_goes_on_where_it_stopped() {
    let bytes = noise(20_000, 3);
    for kind in [large, small] {
        let train = Served {
            cuts: vec![3_000, 2_000],
            ..kind(&bytes)
        };
        let large = train.large;
        let server = Server::hub(SUDOKU, train, small(b"x"));
        let folder = tempfile::tempdir().unwrap();
        server.download(SUDOKU, folder.path()).unwrap();
        assert_eq!(
            fs::read(folder.path().join("set/train.csv")).unwrap(),
            bytes
        );
        if large {
            assert_eq!(server.starts("train.csv"), [0, 3_000, 5_000]);
        }
    }
}

#[test]
fn the_next_run_goes_on_where_the_last_one_gave_up() {
    let bytes = noise(20_000, 4);
    let train = Served {
        cuts: vec![1_000; 4],
        ..large(&bytes)
    };
    let server = Server::hub(SUDOKU, train, small(b"x"));
    let folder = tempfile::tempdir().unwrap();
    let error = said(server.download(SUDOKU, folder.path()));
    assert!(error.contains("4000 bytes are kept"), "{error}");
    assert!(names(&folder.path().join("set")).is_empty());
    server.download(SUDOKU, folder.path()).unwrap();
    assert_eq!(server.starts("train.csv").last(), Some(&4_000));
    assert_eq!(
        fs::read(folder.path().join("set/train.csv")).unwrap(),
        bytes
    );
}

#[test]
fn a_file_that_changed_meanwhile_is_begun_anew() {
    let (old, new) = (noise(20_000, 5), noise(19_000, 6));
    let train = Served {
        cuts: vec![1_000; 4],
        ..large(&old)
    };
    let server = Server::hub(SUDOKU, train, small(b"x"));
    let folder = tempfile::tempdir().unwrap();
    server.download(SUDOKU, folder.path()).unwrap_err();
    let path = "/datasets/sapientinc/sudoku-extreme/resolve/main/train.csv";
    server.put(path, large(&new));
    server.download(SUDOKU, folder.path()).unwrap();
    assert_eq!(fs::read(folder.path().join("set/train.csv")).unwrap(), new);
}

#[test]
fn what_broke_off_of_another_revision_does_not_make_an_older_file_pass_for_it() {
    let (old, new) = (noise(20_000, 8), noise(20_000, 9));
    let server = Server::hub(SUDOKU, large(&old), small(b"x"));
    let path = |name| format!("/datasets/sapientinc/sudoku-extreme/resolve/v2/{name}");
    let cut = Served {
        cuts: vec![1_000; 4],
        ..large(&new)
    };
    server.put(&path("train.csv"), cut);
    server.put(&path("test.csv"), small(b"y"));
    let folder = tempfile::tempdir().unwrap();
    let (parts, set) = (folder.path().join("parts"), folder.path().join("set"));
    let second = DownloadConfig {
        revision: Some("v2".into()),
        ..server.config()
    };
    server.download(SUDOKU, folder.path()).unwrap();
    download(SUDOKU, &second, folder.path()).unwrap_err();
    // The first revision is still there, and the second is not.
    assert_eq!(fs::read(parts.join("train.csv")).unwrap(), old);
    download(SUDOKU, &second, folder.path()).unwrap();
    assert_eq!(fs::read(set.join("train.csv")).unwrap(), new);

    // A file that was changed is downloaded anew.
    fs::write(parts.join("train.csv"), "changed").unwrap();
    download(SUDOKU, &second, folder.path()).unwrap();
    assert_eq!(fs::read(set.join("train.csv")).unwrap(), new);
}

#[test]
fn placing_twice_leaves_the_files_as_they_are() {
    let bytes = csv(30, 1);
    let server = Server::hub(SUDOKU, large(&bytes), small(&csv(4, 2)));
    let folder = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        server.download(SUDOKU, folder.path()).unwrap();
        for place in ["parts", "set"] {
            let file = folder.path().join(place).join("train.csv");
            assert_eq!(fs::read(file).unwrap(), bytes);
        }
    }
    let set = folder.path().join("set");
    assert_eq!(names(&set), ["download.json", "test.csv", "train.csv"]);
}

#[test]
fn a_server_without_ranges_sends_all_again() {
    let bytes = noise(20_000, 7);
    let train = Served {
        cuts: vec![3_000, 9_000],
        ranges: false,
        ..large(&bytes)
    };
    let server = Server::hub(SUDOKU, train, small(b"x"));
    let folder = tempfile::tempdir().unwrap();
    server.download(SUDOKU, folder.path()).unwrap();
    assert_eq!(
        fs::read(folder.path().join("set/train.csv")).unwrap(),
        bytes
    );
    assert_eq!(server.starts("train.csv"), [0, 3_000, 9_000]);

    // An archive of unknown length that broke off: the end of the chunks is missing.
    let mut tasks = archive(&[("data/a.json", "{}")]);
    let whole = tasks.bytes.clone();
    tasks.cuts = vec![40];
    let server = Server::start(&[("/arcprize/ARC-AGI-2/archive/HEAD.tar.gz", tasks)]);
    let folder = tempfile::tempdir().unwrap();
    let placed = server.download(Published::ArcAgi2, folder.path()).unwrap();
    assert_eq!(placed.files[0].bytes, whole.len() as u64);
}

/// A hub whose training file is cut after a hundred bytes, and is answered for with these statuses.
fn faltering(bytes: &[u8], statuses: Vec<u16>) -> Server {
    let train = Served {
        cuts: vec![100],
        statuses,
        ..large(bytes)
    };
    Server::hub(SUDOKU, train, small(b"x"))
}

#[test]
fn a_busy_server_is_asked_again() {
    let bytes = csv(20, 8);
    let folder = tempfile::tempdir().unwrap();
    // Busy from the start is said at once.
    let server = faltering(&bytes, vec![503]);
    let error = said(server.download(SUDOKU, folder.path()));
    assert!(error.contains("503"), "{error}");
    assert_eq!(server.requests.lock().unwrap().len(), 1, "asked once");
    server.download(SUDOKU, folder.path()).unwrap();
    assert_eq!(server.starts("train.csv"), [0, 100]);
    // It becomes so after the first hundred bytes, then the host that it leads to: the next try finds them well again.
    for [hub, host] in [[503, 429], [408, 500]] {
        let server = faltering(&bytes, vec![200, 200, hub, 200, host]);
        let folder = tempfile::tempdir().unwrap();
        server.download(SUDOKU, folder.path()).unwrap();
        assert_eq!(server.starts("train.csv"), [0, 100, 100]);
        let found = fs::read(folder.path().join("set/train.csv")).unwrap();
        assert!(found == bytes, "{hub}, {host}");
    }
}

#[test]
fn a_server_that_refuses_is_not_asked_again() {
    let unknown = "the server knows no such repository, revision or file";
    for (status, reason) in [
        (401, "the server wants a token with access"),
        (403, "the server wants a token with access"),
        (404, unknown),
        (410, unknown),
        (400, "the server answered 400"),
    ] {
        // Behind the bytes after which one that is busy is asked again.
        let server = faltering(&csv(20, 8), vec![200, 200, status]);
        let folder = tempfile::tempdir().unwrap();
        let error = said(server.download(SUDOKU, folder.path()));
        assert!(error.contains(&format!("train.csv: {reason}")), "{error}");
        assert_eq!(server.requests.lock().unwrap().len(), 3, "{status}");
    }
}

#[test]
fn a_chain_of_redirections_has_an_end() {
    let folder = tempfile::tempdir().unwrap();
    let server = |redirections| {
        let train = Served {
            statuses: vec![302; redirections],
            ..small(b"x")
        };
        Server::hub(SUDOKU, train, small(b"x"))
    };
    let endless = server(100);
    let error = said(endless.download(SUDOKU, folder.path()));
    let expected = "train.csv: redirected more than 8 times";
    assert!(error.contains(expected), "{error}");
    assert_eq!(endless.requests.lock().unwrap().len(), 9);
    server(8).download(SUDOKU, folder.path()).unwrap();
}

#[test]
fn other_bytes_than_announced_are_thrown_away() {
    for kind in [large, small] {
        let right = kind(&csv(20, 9));
        let mut wrong = right.clone();
        wrong.bytes[50] ^= 1;
        let server = Server::hub(SUDOKU, wrong, small(b"x"));
        let folder = tempfile::tempdir().unwrap();
        let error = server.download(SUDOKU, folder.path()).unwrap_err();
        assert!(matches!(error, DataError::Download { .. }), "{error}");
        assert!(names(&folder.path().join("set")).is_empty());
        let path = "/datasets/sapientinc/sudoku-extreme/resolve/main/train.csv";
        server.put(path, right.clone());
        server.download(SUDOKU, folder.path()).unwrap();
        assert_eq!(
            fs::read(folder.path().join("set/train.csv")).unwrap(),
            right.bytes
        );
    }
    // More than announced.
    let mut more = large(&csv(20, 9));
    more.bytes.extend_from_slice(b"more");
    more.length = false;
    let server = Server::hub(SUDOKU, more, small(b"x"));
    let folder = tempfile::tempdir().unwrap();
    assert!(said(server.download(SUDOKU, folder.path())).contains("thrown away"));
}

#[test]
fn an_archive_has_the_checksum_that_is_demanded() {
    let tasks = archive(&[("data/a.json", "{}")]);
    let right = hex(&sha2::Sha256::digest(&tasks.bytes));
    let server = Server::start(&[("/fchollet/ARC-AGI/archive/HEAD.tar.gz", tasks)]);
    let folder = tempfile::tempdir().unwrap();
    let with = |sha256: &str| DownloadConfig {
        sha256: Some(sha256.to_owned()),
        ..server.config()
    };
    let set = Published::ArcAgi1;
    let wrong = right.replace(&right[..1], if right.starts_with('0') { "1" } else { "0" });
    let error = said(download(set, &with(&wrong), folder.path()));
    assert!(error.contains(&wrong) && error.contains(&right), "{error}");
    download(set, &with(&right.to_uppercase()), folder.path()).unwrap();
    // Also where the archive is there already.
    assert!(said(download(set, &with(&wrong), folder.path())).contains("thrown away"));
    let error = said(download(set, &with("12"), folder.path()));
    assert!(
        error.contains("64 hexadecimal digits, found `12`"),
        "{error}"
    );
    let error = said(download(SUDOKU, &with(&right), folder.path()));
    assert!(error.contains("the hub announces its own"), "{error}");
}

#[test]
fn a_damaged_archive_is_downloaded_anew() {
    let path = "/fchollet/ARC-AGI/archive/HEAD.tar.gz";
    let right = archive(&[("data/a.json", "{}")]);
    let mut wrong = right.clone();
    wrong.bytes.truncate(60);
    let server = Server::start(&[(path, wrong)]);
    let folder = tempfile::tempdir().unwrap();
    let error = said(server.download(Published::ArcAgi1, folder.path()));
    assert!(
        error.contains("cannot read") && error.contains("archive.tar.gz"),
        "{error}"
    );
    server.put(path, right);
    server.download(Published::ArcAgi1, folder.path()).unwrap();
}

#[test]
fn what_the_server_does_not_have_or_say_is_named() {
    let server = Server::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let error = said(server.download(SUDOKU, folder.path()));
    assert!(
        error.contains("resolve/main/train.csv: the server knows no such"),
        "{error}"
    );
    assert_eq!(server.requests.lock().unwrap().len(), 1, "asked once");
    let plain = Served {
        tag: None,
        ..small(b"x")
    };
    let server = Server::hub(SUDOKU, plain, small(b"x"));
    let error = said(server.download(SUDOKU, folder.path()));
    assert!(error.contains("expected the checksum"), "{error}");
    for (endpoint, revision, expected) in [
        ("ftp://x", None, "begins with https://"),
        ("http://x", Some("../.."), "a branch, tag or commit"),
    ] {
        let config = DownloadConfig {
            endpoint: Some(endpoint.into()),
            revision: revision.map(str::to_owned),
            sha256: None,
        };
        let error = said(download(SUDOKU, &config, folder.path()));
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_server_that_is_gone_is_an_error_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let config = DownloadConfig {
        endpoint: Some(format!("http://{}/", listener.local_addr().unwrap())),
        ..DownloadConfig::default()
    };
    drop(listener);
    let folder = tempfile::tempdir().unwrap();
    let error = said(download(Published::MazeHard, &config, folder.path()));
    let expected = "/datasets/sapientinc/maze-30x30-hard-1k/resolve/main/train.csv: ";
    assert!(error.contains(expected), "{error}");
    assert!(!error.contains("//datasets"), "{error}");
}

#[test]
fn two_downloads_into_one_folder_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let parts = folder.path().join("parts");
    fs::create_dir(&parts).unwrap();
    let lock = fs::File::create(parts.join(".lock")).unwrap();
    lock.lock().unwrap();
    let server = Server::hub(SUDOKU, small(b"x"), small(b"x"));
    let error = said(server.download(SUDOKU, folder.path()));
    assert!(error.contains("another program downloads"), "{error}");
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("parts"), "a file").unwrap();
    let server = Server::hub(SUDOKU, small(b"x"), small(b"x"));
    let error = said(server.download(SUDOKU, folder.path()));
    assert!(
        error.starts_with("cannot write") && error.contains("parts"),
        "{error}"
    );
}
