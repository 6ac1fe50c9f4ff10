//! `hrm pull`, from a local server that speaks the hub's protocol.

mod program;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;

use program::{Ran, Workshop, command};
use sha2::{Digest, Sha256};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A file of the repository `owner/name`: its name, its bytes, the checksum announced.
type Served = (&'static str, Vec<u8>, String);

fn served(name: &'static str, bytes: Vec<u8>) -> Served {
    let digest = Sha256::digest(&bytes);
    let announced = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    (name, bytes, announced)
}

/// Gives the address; the thread waits for connections until the test program ends.
fn serve(files: Vec<Served>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = answer(stream.unwrap(), &files);
        }
    });
    address
}

fn answer(mut stream: TcpStream, files: &[Served]) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().unwrap()?;
    let headers: Vec<String> = lines
        .map_while(Result::ok)
        .take_while(|line| !line.is_empty())
        .map(|line| line.to_lowercase())
        .collect();
    let path = request.split(' ').nth(1).unwrap_or_default();
    let mut send = |head: String, body: &[u8]| {
        let length = body.len();
        write!(
            stream,
            "HTTP/1.1 {head}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
        )?;
        stream.write_all(body)
    };
    if path == "/api/models/owner/name/revision/main" {
        let names: Vec<String> = files
            .iter()
            .map(|(name, ..)| format!(r#"{{"rfilename":"{name}"}}"#))
            .collect();
        let body = format!(r#"{{"sha":"{COMMIT}","siblings":[{}]}}"#, names.join(","));
        return send(
            "200 OK\r\nContent-Type: application/json".into(),
            body.as_bytes(),
        );
    }
    let name = path.strip_prefix("/owner/name/resolve/main/");
    let Some((_, bytes, announced)) = files.iter().find(|(file, ..)| Some(*file) == name) else {
        return send("404 Not Found".into(), b"");
    };
    let range = headers.iter().find_map(|line| {
        let (from, to) = line.strip_prefix("range: bytes=")?.split_once('-')?;
        Some((from.parse().ok()?, to.parse().unwrap_or(usize::MAX)))
    });
    let (start, last) = range.unwrap_or((0, usize::MAX));
    let end = last.saturating_add(1).min(bytes.len());
    let head = format!(
        "206 Partial Content\r\nContent-Range: bytes {start}-{}/{}\r\nX-Repo-Commit: {COMMIT}\r\nETag: \"{announced}\"",
        end - 1,
        bytes.len()
    );
    send(head, &bytes[start..end.max(start)])
}

fn pull(dir: &Path, address: &str, more: &[&str]) -> Ran {
    let output = command(dir)
        .args(["pull", "owner/name"])
        .args(more)
        .env("HF_ENDPOINT", address)
        .env("HF_HOME", dir.join("cache"))
        .output()
        .unwrap();
    Ran {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

#[test]
fn a_checkpoint_of_the_hub_becomes_a_run() {
    let workshop = Workshop::with_run();
    workshop.run("export run --out model.safetensors").ok();
    let weights = fs::read(workshop.path("model.safetensors")).unwrap();
    let config = "arch:\n  H_cycles: 1\n  L_cycles: 3\n  num_heads: 2\n  halt_max_steps: 9\ndata_path: data/sudoku4\n";
    let address = serve(vec![
        served("README.md", b"# A model\n".to_vec()),
        served("all_config.yaml", config.into()),
        served("checkpoint", weights.clone()),
    ]);
    let dir = workshop.dir();
    let said = pull(dir, &address, &["--out", "pulled", "--json"])
        .ok()
        .objects();
    assert_eq!(said[0]["type"], "imported");
    // The repository's configuration counts, then the file's own.
    assert_eq!(said[0]["max_segments"], 9);
    assert_eq!(said[0]["model"]["seq_len"], 16);
    let evaluate = |run: &str| {
        let line = format!("eval --checkpoint {run} --data data --json --segments 4 --halt fixed");
        workshop.run(&line).ok().objects()[0]["cell_accuracy"].clone()
    };
    assert_eq!(evaluate("pulled"), evaluate("run"));
    pull(dir, &address, &["--out", "pulled"]).refused(&["pulled is there already"]);

    // Other bytes than announced.
    let mut wrong = served("checkpoint", weights);
    wrong.1[100] ^= 1;
    let liar = serve(vec![wrong]);
    fs::remove_dir_all(dir.join("cache")).unwrap();
    pull(dir, &liar, &["--out", "wrong"]).refused(&["checkpoint", "thrown away"]);
    assert!(!dir.join("wrong").exists());
    pull(dir, &liar, &["--out", "wrong", "--file", "other"]).refused(&["knows no such"]);
}
