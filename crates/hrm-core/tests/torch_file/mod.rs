//! Writes small torch checkpoints, right or wrong on purpose, as `torch.save` lays them out.

#![allow(dead_code, reason = "each test uses a part")]

use std::io::Write;

use rawzip::{CompressionMethod, ZipArchiveWriter};

/// A zip archive of stored entries with right checksums.
pub fn zip(entries: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut archive = ZipArchiveWriter::new(&mut out);
    for (name, bytes) in entries {
        let (mut entry, config) = archive
            .new_file(name.as_str())
            .compression_method(CompressionMethod::STORE)
            .start()
            .unwrap();
        let mut writer = config.wrap(&mut entry);
        writer.write_all(bytes).unwrap();
        let (_, descriptor) = writer.finish().unwrap();
        entry.finish(descriptor).unwrap();
    }
    archive.finish().unwrap();
    out
}

/// A tensor as a pickle describes it; nothing keeps it from lying.
#[derive(Clone, Debug)]
pub struct Tensor {
    pub name: String,
    pub class: &'static str,
    pub key: String,
    pub numel: i64,
    pub offset: i64,
    pub shape: Vec<i64>,
    pub strides: Vec<i64>,
    pub parameter: bool,
}

impl Tensor {
    /// A contiguous tensor that fills the storage `key`.
    pub fn whole(name: &str, class: &'static str, key: &str, shape: &[i64]) -> Self {
        let mut strides = vec![1; shape.len()];
        for i in (1..shape.len()).rev() {
            strides[i - 1] = strides[i] * shape[i];
        }
        Self {
            name: name.into(),
            class,
            key: key.into(),
            numel: shape.iter().product(),
            offset: 0,
            shape: shape.to_vec(),
            strides,
            parameter: false,
        }
    }
}

/// The instructions of a pickle, protocol 2.
#[derive(Default)]
pub struct Pickle(pub Vec<u8>);

impl Pickle {
    pub fn op(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend(bytes);
        self
    }

    pub fn text(&mut self, text: &str) -> &mut Self {
        self.op(b"X")
            .op(&(text.len() as u32).to_le_bytes())
            .op(text.as_bytes())
    }

    pub fn int(&mut self, value: i64) -> &mut Self {
        match i32::try_from(value) {
            Ok(value) => self.op(b"J").op(&value.to_le_bytes()),
            Err(_) => self.op(b"\x8a\x08").op(&value.to_le_bytes()),
        }
    }

    pub fn ints(&mut self, values: &[i64]) -> &mut Self {
        self.op(b"(");
        values.iter().for_each(|&value| {
            self.int(value);
        });
        self.op(b"t")
    }

    pub fn tensor(&mut self, tensor: &Tensor) -> &mut Self {
        if tensor.parameter {
            self.op(b"ctorch._utils\n_rebuild_parameter\n(");
        }
        self.op(b"ctorch._utils\n_rebuild_tensor_v2\n((")
            .text("storage");
        self.op(b"ctorch\n")
            .op(tensor.class.as_bytes())
            .op(b"\n")
            .text(&tensor.key)
            .text("cuda:0");
        self.int(tensor.numel)
            .op(b"tQ")
            .int(tensor.offset)
            .ints(&tensor.shape)
            .ints(&tensor.strides);
        self.op(b"\x89ccollections\nOrderedDict\n)RtR");
        if tensor.parameter {
            self.op(b"\x88ccollections\nOrderedDict\n)RtR");
        }
        self
    }

    /// A state dict as `Module.state_dict()` returns it: an OrderedDict with `_metadata`.
    pub fn state_dict(tensors: &[Tensor]) -> Vec<u8> {
        let mut pickle = Self::default();
        pickle.op(b"\x80\x02ccollections\nOrderedDict\nq\x00)Rq\x01(");
        for tensor in tensors {
            pickle.text(&tensor.name).tensor(tensor);
        }
        pickle
            .op(b"u}")
            .text("_metadata")
            .op(b"h\x00)R(")
            .text("")
            .op(b"}")
            .text("version")
            .op(b"K\x01susb.");
        pickle.0
    }
}

/// The entries of a checkpoint with this `data.pkl` and these storages.
pub fn entries(pickle: Vec<u8>, storages: &[(&str, Vec<u8>)]) -> Vec<(String, Vec<u8>)> {
    let mut entries = vec![
        ("model/data.pkl".to_owned(), pickle),
        ("model/byteorder".to_owned(), b"little".to_vec()),
    ];
    entries.extend(
        storages
            .iter()
            .map(|(key, bytes)| (format!("model/data/{key}"), bytes.clone())),
    );
    entries.push(("model/version".to_owned(), b"3\n".to_vec()));
    entries
}

/// A whole checkpoint.
pub fn checkpoint(tensors: &[Tensor], storages: &[(&str, Vec<u8>)]) -> Vec<u8> {
    zip(&entries(Pickle::state_dict(tensors), storages))
}

/// Little-endian bytes of f32 values.
pub fn f32_bytes(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}
