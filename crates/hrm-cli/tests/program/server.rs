//! A server of files for the commands that download.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};

use sha2::{Digest, Sha256};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What is under a path.
#[derive(Clone)]
pub struct Page {
    pub path: String,
    pub bytes: Vec<u8>,
    /// The checksum announced.
    pub tag: String,
    /// Breaks off every answer after so many bytes.
    pub cut: usize,
}

impl Page {
    pub fn new(path: &str, bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        let digest = Sha256::digest(&bytes);
        Self {
            path: path.into(),
            tag: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
            bytes,
            cut: usize::MAX,
        }
    }
}

/// A model repository of the hub: its files, and the list of them.
pub fn repository(name: &str, files: &[(&str, Vec<u8>)]) -> Vec<Page> {
    let names: Vec<String> = files
        .iter()
        .map(|(file, _)| format!(r#"{{"rfilename":"{file}"}}"#))
        .collect();
    let list = format!(r#"{{"sha":"{COMMIT}","siblings":[{}]}}"#, names.join(","));
    let mut pages = vec![Page::new(
        &format!("/api/models/{name}/revision/main"),
        list,
    )];
    pages.extend(files.iter().map(|(file, bytes)| {
        Page::new(&format!("/{name}/resolve/{COMMIT}/{file}"), bytes.clone())
    }));
    pages
}

/// Gives the address; the thread waits for connections until the test program ends.
pub fn serve(pages: Vec<Page>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = answer(stream.unwrap(), &pages);
        }
    });
    address
}

/// An address where nobody answers.
pub fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

fn answer(mut stream: TcpStream, pages: &[Page]) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().unwrap()?;
    let headers: Vec<String> = lines
        .map_while(Result::ok)
        .take_while(|line| !line.is_empty())
        .map(|line| line.to_lowercase())
        .collect();
    let path = request.split(' ').nth(1).unwrap_or_default();
    let Some(page) = pages.iter().find(|page| page.path == path) else {
        return write!(
            stream,
            "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
    };
    let range = headers.iter().find_map(|line| {
        let (from, to) = line.strip_prefix("range: bytes=")?.split_once('-')?;
        Some((from.parse().ok()?, to.parse().unwrap_or(usize::MAX)))
    });
    let size = page.bytes.len();
    let (start, last) = range.unwrap_or((0, usize::MAX));
    let end = last.saturating_add(1).min(size);
    let body = &page.bytes[start.min(end)..end];
    let status = match range {
        Some(_) => format!(
            "206 Partial Content\r\nContent-Range: bytes {start}-{}/{size}",
            end - 1
        ),
        None => "200 OK".to_owned(),
    };
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nX-Repo-Commit: {COMMIT}\r\nETag: \"{}\"\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        page.tag,
        body.len()
    )?;
    stream.write_all(&body[..page.cut.min(body.len())])
}
