//! Files that a command writes: whole or not at all, and over nothing without `--force`.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use hrm::data::SourceFile;
use hrm::data::arc::task_files;
use hrm::train::{CHECKPOINTS, Run, TrainError, is_checkpoint_file, is_run_file};
use sha2::{Digest, Sha256};

/// Refuses to write over something that is there. An empty folder is nothing.
pub(crate) fn check_free(path: &Path, force: bool) -> Result<()> {
    let there = match fs::read_dir(path) {
        Ok(mut entries) => entries.next().is_some(),
        Err(_) => path.exists(),
    };
    if there && !force {
        bail!(
            "{} is there already; choose another name, or write over it with --force",
            path.display()
        );
    }
    Ok(())
}

/// Refuses a file that can't be written: one that is there, a folder, one in a folder that isn't there. `-` is stdout, and what is
/// written to a device or a pipe replaces nothing.
pub(crate) fn check_file(path: &Path, force: bool) -> Result<()> {
    if path == Path::new("-") || is_stream(path) {
        return Ok(());
    }
    if path.is_symlink() && !path.exists() {
        bail!(
            "{} is a link to nothing; expected the name of a file",
            path.display()
        );
    }
    if path.is_dir() || path.file_name().is_none() {
        bail!(
            "{} is a folder; expected the name of a file",
            path.display()
        );
    }
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    if let Some(folder) = folder
        && !folder.is_dir()
    {
        bail!(
            "{}: there is no folder {}; make it first",
            path.display(),
            folder.display()
        );
    }
    check_free(path, force)?;
    let target = behind_link(path);
    let probe = temporary(&target, TMP);
    File::create(&probe)
        .and_then(|_| fs::remove_file(&probe))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Refuses stdout for what is no text, or comes beside text.
pub(crate) fn not_stdout(path: &Path) -> Result<()> {
    if path == Path::new("-") {
        bail!("-: stdout is for what is told; expected the name of a file");
    }
    Ok(())
}

/// As [`check_file`], for a picture: refuses a name that tells another kind of picture than the one that is written.
#[cfg(feature = "draw")]
pub(crate) fn check_picture(path: &Path, kind: &str, force: bool) -> Result<()> {
    const KINDS: [&str; 9] = [
        "png", "gif", "svg", "pdf", "jpg", "jpeg", "webp", "bmp", "tiff",
    ];
    not_stdout(path)?;
    let ending = path.extension().unwrap_or_default().to_ascii_lowercase();
    if ending != kind && KINDS.iter().any(|other| ending == *other) {
        bail!(
            "{}: expected a name that ends in .{kind}, the kind of picture that is written",
            path.display()
        );
    }
    check_file(path, force)
}

/// Refuses a folder that is there, and with `force` one that doesn't hold `mark`, which every folder of its kind does.
pub(crate) fn check_folder(path: &Path, force: bool, mark: &str) -> Result<()> {
    if path.file_name().is_none() {
        bail!(
            "{}: expected a name, under which the folder is put in its place when it is whole",
            path.display()
        );
    }
    check_free(path, force)?;
    if path.is_symlink() && !path.exists() {
        bail!(
            "{} is a link to what is not there; expected the name of a folder",
            path.display()
        );
    }
    if path.is_file() {
        bail!(
            "{} is a file; expected the name of a folder",
            path.display()
        );
    }
    if check_free(path, false).is_err() && !path.join(mark).exists() {
        bail!(
            "{} holds no {mark}: it is no folder that this command writes, and --force doesn't take it; choose another name",
            path.display()
        );
    }
    // Folders on the way to it are made, too.
    let target = behind_link(path);
    let is_there = |folder: &&Path| *folder != Path::new("") && folder.exists();
    let above = target.ancestors().skip(1).find(is_there);
    let probe = temporary(&above.unwrap_or(Path::new(".")).join("folder"), TMP);
    fs::create_dir(&probe)
        .and_then(|()| fs::remove_dir(&probe))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Refuses a folder that `--force` may not take for a run: other programs have a file `config.json`, too.
pub(crate) fn check_over_run(path: &Path) -> Result<()> {
    match Run::check_start_over(path) {
        Ok(()) => Ok(()),
        Err(error @ (TrainError::RunInUse { .. } | TrainError::Io { .. })) => Err(error.into()),
        Err(error) => {
            let why = "--force writes only over a run; choose another name";
            Err(anyhow::Error::new(error).context(why))
        }
    }
}

/// Whether a path is neither file nor folder: a device, a pipe, a socket.
fn is_stream(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir())
}

/// What a link stands for, so that it is this that is written anew and not the link.
fn behind_link(path: &Path) -> PathBuf {
    match path.is_symlink() {
        true => fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()),
        false => path.to_owned(),
    }
}

/// Writes a file: to a temporary name beside it, flushed to the disk, then renamed. `-` is stdout.
pub(crate) fn write_file(
    path: &Path,
    force: bool,
    write: impl FnOnce(&mut dyn Write) -> Result<()>,
) -> Result<()> {
    if path == Path::new("-") {
        let mut bytes = Vec::new();
        write(&mut bytes)?;
        let mut out = io::stdout().lock();
        out.write_all(&bytes)?;
        return Ok(out.flush()?);
    }
    check_file(path, force)?;
    if is_stream(path) {
        let written = (|| -> Result<()> {
            let mut out = BufWriter::new(OpenOptions::new().write(true).open(path)?);
            write(&mut out)?;
            Ok(out.flush()?)
        })();
        return written.with_context(|| format!("cannot write {}", path.display()));
    }
    let target = behind_link(path);
    let temporary = temporary(&target, TMP);
    let written = (|| -> Result<()> {
        let mut out = BufWriter::new(File::create(&temporary)?);
        write(&mut out)?;
        out.into_inner()
            .map_err(|error| error.into_error())?
            .sync_all()?;
        fs::rename(&temporary, &target)?;
        Ok(())
    })();
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written.with_context(|| format!("cannot write {}", path.display()))
}

/// In a folder that is being written, and locked as long as its process lives.
const WRITING: &str = ".writing";

/// Writes a folder: under a temporary name beside it, then renamed. With `force` an old one that holds `mark` gives way at
/// the last moment; what else lies in it stays. What a process left that was killed at it is put right first.
pub(crate) fn write_folder(
    path: &Path,
    force: bool,
    mark: &str,
    write: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    check_folder(path, force, mark)?;
    put_right(&behind_link(path), mark)
        .with_context(|| format!("cannot clear what is left beside {}", path.display()))?;
    // An old one may have come back.
    check_folder(path, force, mark)?;
    let path = &behind_link(path);
    let (temporary, old) = (temporary(path, TMP), temporary(path, OLD));
    let written = (|| -> Result<()> {
        let writing = || -> io::Result<File> {
            fs::create_dir_all(&temporary)?;
            let file = File::create(temporary.join(WRITING))?;
            // There are file systems without locks.
            let _ = file.try_lock();
            Ok(file)
        };
        let writing =
            writing().with_context(|| format!("cannot create {}", temporary.display()))?;
        write(&temporary)?;
        drop(writing);
        // What has come there since, too, is written over only with `force` and if it is of the kind.
        check_folder(path, force, mark)?;
        let swap = || -> io::Result<()> {
            if force && path.exists() {
                fs::rename(path, &old)?;
            } else if path.exists() {
                // An empty one, or it is an error.
                fs::remove_dir(path)?;
            }
            fs::rename(&temporary, path)
        };
        swap().with_context(|| format!("cannot write {}", path.display()))
    })();
    if written.is_err() {
        let _ = fs::remove_dir_all(&temporary);
        if !path.exists() {
            let _ = fs::rename(&old, path);
        }
    } else {
        keep_others(&old, path)?;
        let _ = fs::remove_dir_all(&old);
        let _ = fs::remove_file(path.join(WRITING));
    }
    written
}

/// Removes the folders that killed processes were writing as `path`, and gives it back what they had put aside.
fn put_right(path: &Path, mark: &str) -> Result<()> {
    for half in left(path, TMP)? {
        let writing = File::open(half.join(WRITING));
        if writing.is_ok_and(|file| file.try_lock().is_ok()) {
            fs::remove_dir_all(half)?;
        }
    }
    if !left(path, TMP)?.is_empty() {
        // Another process is at it.
        return Ok(());
    }
    for old in left(path, OLD)? {
        if !old.join(mark).exists() {
            continue;
        }
        match path.exists() {
            true => {
                keep_others(&old, path)?;
                fs::remove_dir_all(old)?;
            }
            false => fs::rename(old, path)?,
        }
    }
    if path.join(WRITING).is_file() {
        fs::remove_file(path.join(WRITING))?;
    }
    Ok(())
}

/// Folders of [`temporary`] names beside `path`.
fn left(path: &Path, what: &str) -> io::Result<Vec<PathBuf>> {
    let start = beside(path, what);
    let (Some(folder), Some(start)) = (start.parent(), start.file_name()) else {
        return Ok(Vec::new());
    };
    let folder = match folder == Path::new("") {
        true => Path::new("."),
        false => folder,
    };
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let is_left = |name: &OsStr| {
        let rest = name
            .as_encoded_bytes()
            .strip_prefix(start.as_encoded_bytes());
        let process = rest.and_then(|rest| rest.strip_prefix(b"-"));
        process.is_some_and(|process| !process.is_empty() && process.iter().all(u8::is_ascii_digit))
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if is_left(&entry.file_name()) && entry.path().is_dir() {
            found.push(path.with_file_name(entry.file_name()));
        }
    }
    Ok(found)
}

/// What no command has written moves from an old folder to the new one.
fn keep_others(old: &Path, new: &Path) -> Result<()> {
    let entries = match fs::read_dir(old) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.with_context(|| format!("cannot read {}", old.display()))?,
    };
    for entry in entries {
        let from = entry?.path();
        let to = new.join(from.file_name().unwrap_or_default());
        let is_checkpoints = from.ends_with(CHECKPOINTS) && from.is_dir() && to.is_dir();
        if from.join(SPLIT).is_file() || is_checkpoints {
            // It goes with its set or run, and what others have put into it stays.
            keep_others(&from, &to)?;
            continue;
        }
        if to.symlink_metadata().is_ok() || is_ours(&from) {
            continue;
        }
        fs::create_dir_all(new)
            .and_then(|()| fs::rename(&from, &to))
            .with_context(|| format!("cannot move {} to {}", from.display(), new.display()))?;
    }
    Ok(())
}

/// The tasks of an ARC set's tests, beside the set, where it is for TRM's program.
pub(crate) const TEST_PUZZLES: &str = "test_puzzles.json";

/// The file that every analysis has, and the pictures that it may have.
pub(crate) const ANALYSIS: &str = "analysis.json";
pub(crate) const PICTURES: [&str; 4] = [
    "residuals.png",
    "participation.png",
    "trajectories.png",
    "attention.png",
];

/// The file that a split of a data set has.
const SPLIT: &str = "dataset.json";

/// Whether a file is a part of a data set, a run or an analysis, which goes with it: a new one may have no such part.
fn is_ours(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    let is_of_data = ["identifiers.json", "hrm.json", TEST_PUZZLES, SPLIT, WRITING]
        .iter()
        .any(|known| name == *known);
    let text = name.to_str().unwrap_or_default();
    // Arrays are named `SET__WHAT.npy`.
    let is_array = text.contains("__") && text.ends_with(".npy");
    let folder = path.parent().unwrap_or(path);
    let is_checkpoint = folder.ends_with(CHECKPOINTS) && is_checkpoint_file(name);
    let is_picture = folder.join(ANALYSIS).is_file() && PICTURES.contains(&text);
    is_of_data || is_array || is_checkpoint || is_picture || is_run_file(name)
}

/// A hidden name beside `path`.
pub(crate) fn beside(path: &Path, what: &str) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or(path.as_os_str()));
    name.push(format!(".{what}"));
    path.with_file_name(name)
}

/// A file or folder that is not whole yet.
const TMP: &str = "tmp";
/// A folder that a new one takes the place of.
const OLD: &str = "old";

/// The same for this process alone.
fn temporary(path: &Path, what: &str) -> PathBuf {
    beside(path, &format!("{what}-{}", std::process::id()))
}

/// A file's name and SHA-256, or those of a folder of ARC tasks, for the record of where data come from.
pub(crate) fn source(path: &Path) -> Result<SourceFile> {
    Ok(SourceFile {
        name: path
            .file_name()
            .unwrap_or(path.as_os_str())
            .to_string_lossy()
            .into_owned(),
        sha256: match path.is_dir() {
            true => tasks_sha256(path)?,
            // A pipe is read but once.
            false if is_stream(path) => String::new(),
            false => sha256(path)?,
        },
    })
}

/// As `sha256sum *.json | sha256sum` has it in a folder without others.
fn tasks_sha256(folder: &Path) -> Result<String> {
    let mut hash = Sha256::new();
    for file in task_files(folder)? {
        let names = file.strip_prefix(folder).unwrap_or(&file).iter();
        let names: Vec<_> = names.map(|name| name.to_string_lossy()).collect();
        hash.update(format!("{}  {}\n", sha256(&file)?, names.join("/")));
    }
    Ok(hex::encode(hash.finalize()))
}

fn sha256(path: &Path) -> Result<String> {
    let read = || -> io::Result<String> {
        let mut file = File::open(path)?;
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 1 << 16];
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                read => hash.update(&buffer[..read]),
            }
        }
        Ok(hex::encode(hash.finalize()))
    };
    read().with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_written_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.txt");
        write_file(&path, false, |out| Ok(out.write_all(b"one")?)).unwrap();
        let failed = write_file(&path, true, |out| {
            out.write_all(b"two")?;
            bail!("no more")
        });
        assert!(format!("{:#}", failed.unwrap_err()).ends_with("a.txt: no more"));
        let refused = write_file(&path, false, |out| Ok(out.write_all(b"three")?));
        assert!(refused.unwrap_err().to_string().contains("--force"));
        assert_eq!(fs::read(&path).unwrap(), b"one");
        write_file(&path, true, |out| Ok(out.write_all(b"four")?)).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"four");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_gives_way_only_to_a_whole_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("set");
        let put = |text: &'static str| move |at: &Path| Ok(fs::write(at.join("x"), text)?);
        write_folder(&path, false, "x", put("one")).unwrap();
        assert!(write_folder(&path, false, "x", put("two")).is_err());
        assert!(write_folder(&path, true, "x", |_| bail!("no")).is_err());
        assert_eq!(fs::read_to_string(path.join("x")).unwrap(), "one");
        write_folder(&path, true, "x", put("two")).unwrap();
        assert_eq!(fs::read_to_string(path.join("x")).unwrap(), "two");
        let refused = write_folder(&path, true, "y", put("three")).unwrap_err();
        assert!(refused.to_string().contains("holds no y"), "{refused}");
        assert_eq!(fs::read_to_string(path.join("x")).unwrap(), "two");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_others_put_into_a_folder_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("set");
        write_folder(&path, false, "x", |at| {
            fs::create_dir(at.join("test"))?;
            fs::write(at.join("test/dataset.json"), "old")?;
            Ok(fs::write(at.join("x"), "old")?)
        })
        .unwrap();
        fs::create_dir_all(path.join("run/checkpoints")).unwrap();
        fs::write(path.join("run/config.json"), "mine").unwrap();
        fs::write(path.join("notes.txt"), "mine").unwrap();
        fs::write(path.join("test/notes.txt"), "mine").unwrap();
        fs::write(path.join("test/all__inputs.npy"), "old").unwrap();
        write_folder(&path, true, "x", |at| Ok(fs::write(at.join("x"), "new")?)).unwrap();
        let read = |name: &str| fs::read_to_string(path.join(name)).unwrap();
        assert_eq!(
            [read("x"), read("run/config.json"), read("notes.txt")],
            ["new", "mine", "mine"]
        );
        // A split that the new set lacks is none of it.
        assert_eq!(fs::read_dir(path.join("test")).unwrap().count(), 1);
        assert_eq!(read("test/notes.txt"), "mine");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_killed_processes_left_is_put_right() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let names = || -> Vec<String> {
            let names = fs::read_dir(dir.path()).unwrap();
            let mut names: Vec<_> = (names.map(|entry| entry.unwrap().file_name()))
                .map(|name| name.into_string().unwrap())
                .collect();
            names.sort();
            names
        };
        let put = |name: &str, files: &[&str]| {
            fs::create_dir_all(at(name)).unwrap();
            for file in files {
                fs::write(at(name).join(file), "old").unwrap();
            }
        };
        let write = |at: &Path| Ok(fs::write(at.join("x"), "new")?);
        // Killed while it wrote; others of a name of another kind.
        put(".set.tmp-1", &[WRITING]);
        put(".set.tmp-x", &[WRITING]);
        put(".setting.tmp-1", &[WRITING]);
        write_folder(&at("set"), false, "x", write).unwrap();
        assert_eq!(names(), [".set.tmp-x", ".setting.tmp-1", "set"]);
        assert_eq!(fs::read_dir(at("set")).unwrap().count(), 1);
        // Killed before the new one was there.
        fs::remove_dir_all(at("set")).unwrap();
        put(".set.old-2", &["x", "notes.txt"]);
        put(".set.tmp-2", &["x", WRITING]);
        assert!(write_folder(&at("set"), false, "x", write).is_err());
        assert_eq!(fs::read(at("set/x")).unwrap(), b"old");
        assert_eq!(names(), [".set.tmp-x", ".setting.tmp-1", "set"]);
        // Killed before all was moved.
        fs::rename(at("set"), at(".set.old-3")).unwrap();
        put("set", &["x", WRITING]);
        write_folder(&at("set"), true, "x", write).unwrap();
        assert_eq!(fs::read(at("set/x")).unwrap(), b"new");
        assert_eq!(fs::read(at("set/notes.txt")).unwrap(), b"old");
        assert_eq!(fs::read_dir(at("set")).unwrap().count(), 2);
        // One that lives.
        put(".set.tmp-4", &[]);
        let living = File::create(at(".set.tmp-4").join(WRITING)).unwrap();
        living.lock().unwrap();
        write_folder(&at("set"), true, "x", write).unwrap();
        assert!(at(".set.tmp-4").is_dir());
    }

    #[test]
    fn others_files_among_checkpoints_stay_and_old_pictures_go() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let put = |names: &'static [&'static str]| {
            move |at: &Path| -> Result<()> {
                fs::create_dir_all(at.join("checkpoints"))?;
                names
                    .iter()
                    .try_for_each(|name| Ok(fs::write(at.join(name), "")?))
            }
        };
        let run = &["config.json", "checkpoints/step-000000007.safetensors"];
        write_folder(&at("run"), false, "config.json", put(run)).unwrap();
        fs::write(at("run/checkpoints/notes.txt"), "old").unwrap();
        let new = &["config.json", "checkpoints/step-000000000.safetensors"];
        write_folder(&at("run"), true, "config.json", put(new)).unwrap();
        let mut found: Vec<_> = fs::read_dir(at("run/checkpoints"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        found.sort();
        assert_eq!(found, ["notes.txt", "step-000000000.safetensors"]);

        let analysis = &["analysis.json", "attention.png", "residuals.png"];
        write_folder(&at("looked"), false, ANALYSIS, put(analysis)).unwrap();
        fs::write(at("looked/mine.png"), "old").unwrap();
        write_folder(&at("looked"), true, ANALYSIS, put(&["analysis.json"])).unwrap();
        assert!(at("looked/mine.png").exists() && !at("looked/attention.png").exists());
    }

    #[test]
    fn what_comes_while_a_folder_is_written_is_not_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let set = dir.path().join("set");
        for force in [false, true] {
            let refused = write_folder(&set, force, "x", |at| {
                fs::write(at.join("x"), "new")?;
                fs::create_dir(&set)?;
                Ok(fs::write(set.join("theirs"), "old")?)
            });
            assert!(refused.unwrap_err().to_string().contains("set"));
            assert_eq!(fs::read(set.join("theirs")).unwrap(), b"old");
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
            fs::remove_dir_all(&set).unwrap();
        }
        // An empty folder is nothing.
        fs::create_dir(&set).unwrap();
        write_folder(&set, false, "x", |at| Ok(fs::write(at.join("x"), "new")?)).unwrap();
        assert_eq!(fs::read(set.join("x")).unwrap(), b"new");
    }

    #[cfg(unix)]
    #[test]
    fn links_stay_links_and_devices_devices() {
        use std::os::unix::fs::symlink;
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let put = |text: &'static str| {
            move |out: &mut dyn Write| -> Result<()> { Ok(out.write_all(text.as_bytes())?) }
        };
        fs::write(at("target"), "old").unwrap();
        symlink("target", at("link")).unwrap();
        write_file(&at("link"), true, put("new")).unwrap();
        assert!(at("link").is_symlink());
        assert_eq!(fs::read(at("target")).unwrap(), b"new");
        symlink("nowhere", at("dangling")).unwrap();
        let refused = write_file(&at("dangling"), true, put("new")).unwrap_err();
        assert!(refused.to_string().contains("is a link to nothing"));
        symlink("/dev/null", at("null")).unwrap();
        write_file(&at("null"), true, put("new")).unwrap();
        assert!(is_stream(&at("null")));

        let write = |at: &Path| Ok(fs::write(at.join("x"), "x")?);
        write_folder(&at("set"), false, "x", write).unwrap();
        symlink("set", at("linked")).unwrap();
        write_folder(&at("linked"), true, "x", write).unwrap();
        assert!(at("linked").is_symlink() && !at("set").is_symlink());
    }

    #[test]
    fn what_can_not_be_written_is_told_before_any_work() {
        let dir = tempfile::tempdir().unwrap();
        let said = |path: &Path| format!("{:#}", check_file(path, true).unwrap_err());
        assert!(said(dir.path()).contains("is a folder"));
        assert!(said(&dir.path().join("nowhere/x.png")).contains("there is no folder"));
        check_file(&dir.path().join("x.png"), false).unwrap();
        check_file(Path::new("x.png"), false).unwrap();
        check_file(Path::new("-"), false).unwrap();
    }

    #[cfg(feature = "draw")]
    #[test]
    fn a_picture_has_the_name_of_its_kind() {
        assert!(check_picture(Path::new("-"), "png", false).is_err());
        for name in ["x.png", "x.PNG", "x", "x.2"] {
            check_picture(Path::new(name), "png", false).unwrap();
        }
        for name in ["x.svg", "x.Gif"] {
            let refused = check_picture(Path::new(name), "png", false).unwrap_err();
            assert!(
                refused.to_string().contains("ends in .png"),
                "{name}: {refused}"
            );
        }
    }
}
