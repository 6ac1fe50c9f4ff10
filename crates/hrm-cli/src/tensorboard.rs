//! TensorBoard event files: a sequence of records, each an `Event` of TensorFlow's protocol with its length and masked checksums.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use prost::Message;

/// tensorflow/core/util/event.proto, as far as it is written here.
#[derive(Clone, PartialEq, Message)]
struct Event {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(oneof = "What", tags = "3, 5, 7")]
    what: Option<What>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum What {
    #[prost(string, tag = "3")]
    FileVersion(String),
    #[prost(message, tag = "5")]
    Summary(Summary),
    #[prost(message, tag = "7")]
    SessionLog(SessionLog),
}

/// tensorflow/core/framework/summary.proto.
#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Value>,
}

#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
}

#[derive(Clone, PartialEq, Message)]
struct SessionLog {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// The status of a session that begins: what was written before for this step and later ones is void.
const START: i32 = 1;

/// An event file being written.
#[derive(Debug)]
pub(crate) struct EventFile {
    path: PathBuf,
    out: BufWriter<File>,
}

impl EventFile {
    /// Opens a file of its own in a folder. `step` is the first that will be written: a training that goes on from a
    /// checkpoint makes the steps behind it again.
    pub(crate) fn create(folder: &Path, step: u64) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        // The reader takes the files in the order of their names: seconds, then what tells files of a second apart.
        let seconds = wall_time() as u64;
        let process = std::process::id();
        let (path, file) = (0..)
            .map(|i| {
                folder.join(format!(
                    "events.out.tfevents.{seconds:010}.hrm.{process}.{i}"
                ))
            })
            .map(|path| (File::create_new(&path), path))
            .find_map(|(made, path)| match made {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => None,
                made => Some(made.map(|file| (path, file))),
            })
            .unwrap_or_else(|| Err(io::ErrorKind::AlreadyExists.into()))?;
        let mut events = Self {
            path,
            out: BufWriter::new(file),
        };
        events.write(0, What::FileVersion("brain.Event:2".to_owned()))?;
        events.restart(step)?;
        Ok(events)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Says that the steps from `step` on are made anew.
    pub(crate) fn restart(&mut self, step: u64) -> io::Result<()> {
        self.write(step, What::SessionLog(SessionLog { status: START }))
    }

    /// Values of a step by their tags.
    pub(crate) fn scalars(&mut self, step: u64, values: &[(&str, f64)]) -> io::Result<()> {
        let value = |&(tag, value): &(&str, f64)| Value {
            tag: tag.to_owned(),
            simple_value: Some(value as f32),
        };
        let value = values.iter().map(value).collect();
        self.write(step, What::Summary(Summary { value }))
    }

    fn write(&mut self, step: u64, what: What) -> io::Result<()> {
        let event = Event {
            wall_time: wall_time(),
            step: i64::try_from(step).unwrap_or(i64::MAX),
            what: Some(what),
        };
        let data = event.encode_to_vec();
        let length = (data.len() as u64).to_le_bytes();
        self.out.write_all(&length)?;
        self.out.write_all(&masked(&length).to_le_bytes())?;
        self.out.write_all(&data)?;
        self.out.write_all(&masked(&data).to_le_bytes())?;
        // Whoever looks on sees every event at once.
        self.out.flush()
    }
}

/// CRC-32C, rotated and moved, so that a checksum of bytes that hold checksums is as good.
fn masked(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
        .rotate_right(15)
        .wrapping_add(0xa282_ead8)
}

fn wall_time() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0.0, |since| since.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The events of a file; every length and every checksum is looked at.
    fn read(path: &Path) -> Vec<Event> {
        let bytes = fs::read(path).unwrap();
        let mut rest = bytes.as_slice();
        let mut events = Vec::new();
        while !rest.is_empty() {
            let (head, tail) = rest.split_at(12);
            let sum = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().unwrap());
            assert_eq!(sum(&head[8..]), masked(&head[..8]));
            let length = u64::from_le_bytes(head[..8].try_into().unwrap()) as usize;
            let (data, tail) = tail.split_at(length);
            assert_eq!(sum(&tail[..4]), masked(data));
            events.push(Event::decode(data).unwrap());
            rest = &tail[4..];
        }
        events
    }

    #[test]
    fn events_are_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("events");
        let mut file = EventFile::create(&folder, 11).unwrap();
        file.scalars(20, &[("train/loss", 0.5), ("train/lr", 1e-4)])
            .unwrap();
        let events = read(file.path());
        assert_eq!(
            events[0].what,
            Some(What::FileVersion("brain.Event:2".to_owned()))
        );
        assert_eq!(
            (events[1].step, &events[1].what),
            (11, &Some(What::SessionLog(SessionLog { status: START })))
        );
        let Some(What::Summary(summary)) = &events[2].what else {
            panic!("{:?}", events[2]);
        };
        assert_eq!((events.len(), events[2].step), (3, 20));
        let values: Vec<(&str, Option<f32>)> = summary
            .value
            .iter()
            .map(|value| (value.tag.as_str(), value.simple_value))
            .collect();
        assert_eq!(
            values,
            [("train/loss", Some(0.5)), ("train/lr", Some(1e-4))]
        );
        // A second one of the same second is another file.
        let other = EventFile::create(&folder, 1).unwrap();
        assert_ne!(other.path(), file.path());
        assert!(other.path().file_name() > file.path().file_name());
    }

    #[test]
    fn bytes_are_those_of_the_protocol() {
        // Worked out by hand from the field numbers: wall_time 1.0, step 3, summary { value { tag "a", simple_value 2.0 } }.
        let event = Event {
            wall_time: 1.0,
            step: 3,
            what: Some(What::Summary(Summary {
                value: vec![Value {
                    tag: "a".to_owned(),
                    simple_value: Some(2.0),
                }],
            })),
        };
        let bytes = [
            [0x09, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f].as_slice(), // field 1, 64 bits
            &[0x10, 3],                                      // field 2, varint
            &[0x2a, 10, 0x0a, 8],                            // field 5, its field 1
            &[0x0a, 1, b'a', 0x15, 0, 0, 0, 0x40],           // tag, 32 bits
        ]
        .concat();
        assert_eq!(event.encode_to_vec(), bytes);
        // The CRC-32C of "123456789" is 0xe3069283, in every table of checksums.
        let mask = 0xe306_9283u32.rotate_right(15).wrapping_add(0xa282_ead8);
        assert_eq!(masked(b"123456789"), mask);
    }
}
