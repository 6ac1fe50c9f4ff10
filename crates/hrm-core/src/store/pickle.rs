//! Reads the pickle of a torch checkpoint as data.
//!
//! A pickle is a program for a small stack machine that may call any Python object by name. This interpreter knows the
//! instructions that `torch.save` writes for a state dict and the few names that stand for tensors; another name is a
//! [`Fault::Foreign`], another instruction a [`Fault::Broken`]. It calls nothing and doesn't recurse: every object is a
//! slot of one arena, containers hold slot numbers, and each instruction adds at most one slot, so that memory is bounded
//! by [`MAX_OBJECTS`] and the length of the pickle, whatever it says.

use std::collections::HashMap;

use super::element::DType;

/// Most objects, stack entries or memo entries of a pickle. A state dict takes about twelve per tensor.
const MAX_OBJECTS: usize = 1 << 18;
/// Longest name of a global, module and name each.
const MAX_GLOBAL: usize = 256;
/// Most dimensions of a tensor.
const MAX_RANK: usize = 8;

/// Slot of the arena.
pub(super) type Id = u32;

/// A tensor as the pickle describes it; nothing of it is checked but that it has no more than [`MAX_RANK`] dimensions.
#[derive(Clone, Debug)]
pub(super) struct RawTensor {
    pub storage: Id,
    pub offset: i64,
    pub shape: Vec<i64>,
    pub strides: Vec<i64>,
}

/// A Python object.
#[derive(Clone, Debug)]
pub(super) enum Object {
    /// What a state dict may hold beside its tensors and nobody asks for: None, floats, bytes, long integers.
    Other,
    Int(i64),
    Text(String),
    /// A list or tuple.
    Sequence(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Global(Global),
    /// A storage of `numel` elements; `key` is the slot of its text.
    Storage {
        dtype: DType,
        key: Id,
        numel: i64,
    },
    Tensor(Box<RawTensor>),
}

/// The names that a pickle may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Global {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    Storage(DType),
}

/// Why a pickle is refused, and at which byte.
#[derive(Debug)]
pub(super) enum Fault {
    Broken { at: usize, reason: String },
    Foreign { at: usize, global: String },
}

/// What a pickle describes: its objects and the one it returns.
#[derive(Debug)]
pub(super) struct Pickle {
    objects: Vec<Object>,
    pub root: Id,
}

impl Pickle {
    /// The object in slot `id`.
    pub fn get(&self, id: Id) -> &Object {
        self.objects.get(id as usize).unwrap_or(&Object::Other)
    }

    /// Runs the pickle in `bytes`.
    pub fn read(bytes: &[u8]) -> Result<Self, Fault> {
        Machine {
            bytes,
            at: 0,
            op_at: 0,
            objects: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
        }
        .run()
    }
}

struct Machine<'a> {
    bytes: &'a [u8],
    /// Next byte.
    at: usize,
    /// First byte of the current instruction.
    op_at: usize,
    objects: Vec<Object>,
    stack: Vec<Id>,
    /// Stack heights at the marks.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
}

type Step<T> = Result<T, Fault>;

impl<'a> Machine<'a> {
    fn run(mut self) -> Step<Pickle> {
        loop {
            self.op_at = self.at;
            let op = self.byte()?;
            match op {
                // PROTO
                0x80 => {
                    let version = self.byte()?;
                    if version > 5 {
                        return self.broken(format!(
                            "expected a pickle protocol of at most 5, found {version}"
                        ));
                    }
                }
                // FRAME: only a hint to readers of streams
                0x95 => {
                    self.take(8)?;
                }
                b'.' => {
                    let root = self.pop()?;
                    return Ok(Pickle {
                        objects: self.objects,
                        root,
                    });
                }
                b'(' => {
                    if self.marks.len() >= MAX_OBJECTS {
                        return self.broken("too many marks");
                    }
                    self.marks.push(self.stack.len());
                }
                b'0' => {
                    self.pop()?;
                }
                b'1' => {
                    self.pop_to_mark()?;
                }
                b'2' => {
                    let top = self.top()?;
                    self.push_id(top)?;
                }
                b'N' => self.push(Object::Other)?,
                0x88 => self.push(Object::Int(1))?,
                0x89 => self.push(Object::Int(0))?,
                b'J' => {
                    let value = i32::from_le_bytes(self.array()?);
                    self.push(Object::Int(i64::from(value)))?;
                }
                b'K' => {
                    let value = self.byte()?;
                    self.push(Object::Int(i64::from(value)))?;
                }
                b'M' => {
                    let value = u16::from_le_bytes(self.array()?);
                    self.push(Object::Int(i64::from(value)))?;
                }
                // LONG1, LONG4
                0x8a => {
                    let len = usize::from(self.byte()?);
                    self.long(len)?;
                }
                0x8b => {
                    let len = self.len4()?;
                    self.long(len)?;
                }
                b'G' => {
                    self.take(8)?;
                    self.push(Object::Other)?;
                }
                // BINUNICODE, SHORT_BINUNICODE, BINUNICODE8, and the byte strings that Python 2 wrote as text
                b'X' | b'T' => {
                    let len = self.len4()?;
                    self.text(len)?;
                }
                0x8c | b'U' => {
                    let len = usize::from(self.byte()?);
                    self.text(len)?;
                }
                0x8d => {
                    let len = self.len8()?;
                    self.text(len)?;
                }
                // SHORT_BINBYTES, BINBYTES, BINBYTES8
                b'C' => {
                    let len = usize::from(self.byte()?);
                    self.skip_bytes(len)?;
                }
                b'B' => {
                    let len = self.len4()?;
                    self.skip_bytes(len)?;
                }
                0x8e => {
                    let len = self.len8()?;
                    self.skip_bytes(len)?;
                }
                b')' | b']' => self.push(Object::Sequence(Vec::new()))?,
                b't' | b'l' => {
                    let items = self.pop_to_mark()?;
                    self.push(Object::Sequence(items))?;
                }
                0x85..=0x87 => {
                    let count = usize::from(op - 0x84);
                    let Some(start) = self
                        .stack
                        .len()
                        .checked_sub(count)
                        .filter(|&at| at >= self.floor())
                    else {
                        return self.broken("the stack is empty");
                    };
                    let items = self.stack.split_off(start);
                    self.push(Object::Sequence(items))?;
                }
                b'a' => {
                    let item = self.pop()?;
                    self.append(vec![item])?;
                }
                b'e' => {
                    let items = self.pop_to_mark()?;
                    self.append(items)?;
                }
                b'}' => self.push(Object::Dict(Vec::new()))?,
                b'd' => {
                    let items = self.pop_to_mark()?;
                    self.push(Object::Dict(Vec::new()))?;
                    self.set_items(items)?;
                }
                b's' => {
                    let value = self.pop()?;
                    let key = self.pop()?;
                    self.set_items(vec![key, value])?;
                }
                b'u' => {
                    let items = self.pop_to_mark()?;
                    self.set_items(items)?;
                }
                // GLOBAL, INST, STACK_GLOBAL
                b'c' | b'i' => {
                    let module = self.line()?;
                    let name = self.line()?;
                    self.global(module, name)?;
                    if op == b'i' {
                        return self
                            .broken("the pickle creates an object, which tensors don't need");
                    }
                }
                0x93 => {
                    let (name, module) = (self.pop()?, self.pop()?);
                    let (Object::Text(module), Object::Text(name)) =
                        (self.object(module), self.object(name))
                    else {
                        return self.broken("expected the name of a global as text");
                    };
                    let (module, name) = (module.clone(), name.clone());
                    self.global(&module, &name)?;
                }
                b'R' => self.reduce()?,
                b'Q' => self.persistent_id()?,
                // BUILD: attributes of an OrderedDict (`_metadata` of a state dict) are of no use here
                b'b' => {
                    self.pop()?;
                    let target = self.top()?;
                    if !matches!(self.object(target), Object::Dict(_)) {
                        return self.broken("expected a dictionary to be given attributes");
                    }
                }
                b'q' => {
                    let slot = u32::from(self.byte()?);
                    self.memoize(slot)?;
                }
                b'r' => {
                    let slot = u32::from_le_bytes(self.array()?);
                    self.memoize(slot)?;
                }
                0x94 => {
                    let slot = u32::try_from(self.memo.len()).unwrap_or(u32::MAX);
                    self.memoize(slot)?;
                }
                b'h' => {
                    let slot = u32::from(self.byte()?);
                    self.recall(slot)?;
                }
                b'j' => {
                    let slot = u32::from_le_bytes(self.array()?);
                    self.recall(slot)?;
                }
                0x81 | 0x92 | b'o' | 0x82..=0x84 => {
                    return self.broken("the pickle creates an object, which tensors don't need");
                }
                _ => {
                    return self.broken(format!(
                        "expected an instruction that torch writes, found 0x{op:02x}"
                    ));
                }
            }
        }
    }

    fn broken<T>(&self, reason: impl Into<String>) -> Step<T> {
        Err(Fault::Broken {
            at: self.op_at,
            reason: reason.into(),
        })
    }

    fn take(&mut self, len: usize) -> Step<&'a [u8]> {
        let taken = self
            .at
            .checked_add(len)
            .and_then(|end| Some((self.bytes.get(self.at..end)?, end)));
        let Some((bytes, end)) = taken else {
            return self.broken(format!(
                "the pickle ends within an instruction that needs {len} more bytes"
            ));
        };
        self.at = end;
        Ok(bytes)
    }

    fn byte(&mut self) -> Step<u8> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    fn array<const N: usize>(&mut self) -> Step<[u8; N]> {
        let bytes = self.take(N)?;
        match bytes.first_chunk() {
            Some(array) => Ok(*array),
            None => self.broken("the pickle ends early"),
        }
    }

    fn len4(&mut self) -> Step<usize> {
        Ok(u32::from_le_bytes(self.array()?) as usize)
    }

    fn len8(&mut self) -> Step<usize> {
        Ok(usize::try_from(u64::from_le_bytes(self.array()?)).unwrap_or(usize::MAX))
    }

    /// A line of text without its end.
    fn line(&mut self) -> Step<&'a str> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let Some(len) = rest.iter().take(MAX_GLOBAL + 1).position(|&b| b == b'\n') else {
            return self.broken(format!(
                "expected a name of at most {MAX_GLOBAL} bytes and a line end"
            ));
        };
        let line = self.take(len)?;
        self.take(1)?;
        match std::str::from_utf8(line) {
            Ok(line) => Ok(line),
            Err(_) => self.broken("expected a name in UTF-8"),
        }
    }

    fn text(&mut self, len: usize) -> Step<()> {
        let bytes = self.take(len)?;
        match std::str::from_utf8(bytes) {
            Ok(text) => self.push(Object::Text(text.to_owned())),
            Err(_) => self.broken("expected text in UTF-8"),
        }
    }

    fn skip_bytes(&mut self, len: usize) -> Step<()> {
        self.take(len)?;
        self.push(Object::Other)
    }

    /// A two's complement integer; one that no i64 holds is of no use.
    fn long(&mut self, len: usize) -> Step<()> {
        let bytes = self.take(len)?;
        let object = match bytes.last() {
            None => Object::Int(0),
            Some(_) if len > 8 => Object::Other,
            Some(&high) => {
                let mut wide = [if high & 0x80 == 0 { 0 } else { 0xff }; 8];
                wide.iter_mut()
                    .zip(bytes)
                    .for_each(|(wide, &byte)| *wide = byte);
                Object::Int(i64::from_le_bytes(wide))
            }
        };
        self.push(object)
    }

    fn object(&self, id: Id) -> &Object {
        self.objects.get(id as usize).unwrap_or(&Object::Other)
    }

    fn push(&mut self, object: Object) -> Step<()> {
        if self.objects.len() >= MAX_OBJECTS {
            return self.broken(format!("expected at most {MAX_OBJECTS} objects"));
        }
        let id = self.objects.len() as Id;
        self.objects.push(object);
        self.push_id(id)
    }

    fn push_id(&mut self, id: Id) -> Step<()> {
        if self.stack.len() >= MAX_OBJECTS {
            return self.broken(format!(
                "expected at most {MAX_OBJECTS} objects on the stack"
            ));
        }
        self.stack.push(id);
        Ok(())
    }

    /// Stack height below which the objects belong to the code before the last mark.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn pop(&mut self) -> Step<Id> {
        if self.stack.len() > self.floor()
            && let Some(id) = self.stack.pop()
        {
            return Ok(id);
        }
        self.broken("the stack is empty")
    }

    fn top(&self) -> Step<Id> {
        match self.stack.last() {
            Some(&id) if self.stack.len() > self.floor() => Ok(id),
            _ => self.broken("the stack is empty"),
        }
    }

    fn pop_to_mark(&mut self) -> Step<Vec<Id>> {
        match self.marks.pop() {
            Some(mark) => Ok(self.stack.split_off(mark.min(self.stack.len()))),
            None => self.broken("expected a mark on the stack"),
        }
    }

    fn append(&mut self, items: Vec<Id>) -> Step<()> {
        let target = self.top()?;
        match self.objects.get_mut(target as usize) {
            Some(Object::Sequence(list)) => {
                list.extend(items);
                Ok(())
            }
            _ => self.broken("expected a list to append to"),
        }
    }

    fn set_items(&mut self, items: Vec<Id>) -> Step<()> {
        let (pairs, rest) = items.as_chunks::<2>();
        if !rest.is_empty() {
            return self.broken("expected a value for every key");
        }
        let target = self.top()?;
        match self.objects.get_mut(target as usize) {
            Some(Object::Dict(dict)) => {
                dict.extend(pairs.iter().map(|&[key, value]| (key, value)));
                Ok(())
            }
            _ => self.broken("expected a dictionary to add to"),
        }
    }

    fn memoize(&mut self, slot: u32) -> Step<()> {
        let top = self.top()?;
        self.memo.insert(slot, top);
        if self.memo.len() > MAX_OBJECTS {
            return self.broken(format!("expected at most {MAX_OBJECTS} memo entries"));
        }
        Ok(())
    }

    fn recall(&mut self, slot: u32) -> Step<()> {
        match self.memo.get(&slot) {
            Some(&id) => self.push_id(id),
            None => self.broken(format!("refers to memo entry {slot}, which isn't there")),
        }
    }

    fn global(&mut self, module: &str, name: &str) -> Step<()> {
        let global = match (module, name) {
            ("collections", "OrderedDict") => Global::OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2") => Global::RebuildTensor,
            ("torch._utils", "_rebuild_parameter") => Global::RebuildParameter,
            ("torch", class) if let Some(dtype) = DType::from_torch_storage(class) => {
                Global::Storage(dtype)
            }
            _ => {
                let short = |text: &str| -> String { text.chars().take(MAX_GLOBAL).collect() };
                let global = format!("{}.{}", short(module), short(name));
                return Err(Fault::Foreign {
                    at: self.op_at,
                    global,
                });
            }
        };
        self.push(Object::Global(global))
    }

    /// Calls a global: only those of [`Global`], each of which only makes a description.
    fn reduce(&mut self) -> Step<()> {
        let (args, callee) = (self.pop()?, self.pop()?);
        let Object::Sequence(args) = self.object(args) else {
            return self.broken("expected the arguments of a call as a tuple");
        };
        let made = match (self.object(callee), args.as_slice()) {
            (Object::Global(Global::OrderedDict), []) => Object::Dict(Vec::new()),
            (Object::Global(Global::RebuildTensor), [storage, offset, shape, strides, ..]) => {
                let storage = *storage;
                if !matches!(self.object(storage), Object::Storage { .. }) {
                    return self.broken("expected a tensor to be made of a storage");
                }
                Object::Tensor(Box::new(RawTensor {
                    storage,
                    offset: self.int(*offset, "an offset")?,
                    shape: self.dims(*shape, "a shape")?,
                    strides: self.dims(*strides, "strides")?,
                }))
            }
            (Object::Global(Global::RebuildParameter), [tensor, ..]) => {
                match self.object(*tensor) {
                    Object::Tensor(tensor) => Object::Tensor(tensor.clone()),
                    _ => return self.broken("expected a parameter to be made of a tensor"),
                }
            }
            _ => return self.broken("expected a call that makes a tensor or an empty OrderedDict"),
        };
        self.push(made)
    }

    /// `('storage', class, key, location, number of elements)` names a storage of the archive.
    fn persistent_id(&mut self) -> Step<()> {
        let tuple = self.pop()?;
        let Object::Sequence(fields) = self.object(tuple) else {
            return self.broken("expected a storage to be named by a tuple");
        };
        let &[tag, class, key, _location, numel] = fields.as_slice() else {
            return self.broken(format!(
                "expected a storage to be named by 5 fields, found {}",
                fields.len()
            ));
        };
        let numel = self.int(numel, "a number of elements")?;
        match (self.object(tag), self.object(class), self.object(key)) {
            (Object::Text(tag), Object::Global(Global::Storage(dtype)), Object::Text(_))
                if tag == "storage" =>
            {
                let dtype = *dtype;
                self.push(Object::Storage { dtype, key, numel })
            }
            _ => self.broken("expected ('storage', class, key, location, number of elements)"),
        }
    }

    fn int(&self, id: Id, what: &str) -> Step<i64> {
        match self.object(id) {
            Object::Int(value) => Ok(*value),
            _ => self.broken(format!("expected {what} as a 64-bit integer")),
        }
    }

    fn dims(&self, id: Id, what: &str) -> Step<Vec<i64>> {
        match self.object(id) {
            Object::Sequence(items) if items.len() <= MAX_RANK => {
                items.iter().map(|&item| self.int(item, what)).collect()
            }
            _ => self.broken(format!("expected {what} of at most {MAX_RANK} dimensions")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn foreign(bytes: &[u8]) -> String {
        match Pickle::read(bytes) {
            Err(Fault::Foreign { global, .. }) => global,
            other => panic!("expected a foreign global, found {other:?}"),
        }
    }

    fn broken(bytes: &[u8]) -> String {
        match Pickle::read(bytes) {
            Err(Fault::Broken { reason, .. }) => reason,
            other => panic!("expected a broken pickle, found {other:?}"),
        }
    }

    #[test]
    fn a_foreign_global_is_named_in_every_spelling() {
        assert_eq!(foreign(b"cos\nsystem\n(S'true'\ntR."), "os.system");
        assert_eq!(
            foreign(b"\x80\x04\x8c\x05posix\x94\x8c\x06system\x94\x93\x94."),
            "posix.system"
        );
        assert_eq!(
            foreign(b"(S'true'\nios\nsystem\n.".get(9..).unwrap()),
            "os.system"
        );
        assert_eq!(foreign(b"ctorch\nload\n."), "torch.load");
        assert_eq!(foreign(b"cbuiltins\neval\n."), "builtins.eval");
    }

    #[test]
    fn integers_of_all_widths() {
        for (bytes, value) in [
            (&b"K\x05."[..], 5),
            (b"M\x00\x01.", 256),
            (b"J\xff\xff\xff\xff.", -1),
            (b"\x8a\x00.", 0),
            (b"\x8a\x01\xff.", -1),
            (b"\x8a\x02\xff\x00.", 255),
            (b"\x8b\x01\x00\x00\x00\x07.", 7),
        ] {
            let pickle = Pickle::read(bytes).unwrap();
            assert!(
                matches!(pickle.get(pickle.root), Object::Int(found) if *found == value),
                "{bytes:?}"
            );
        }
    }

    #[test]
    fn stack_and_memo_faults_are_errors() {
        assert_eq!(broken(b"."), "the stack is empty");
        assert_eq!(
            broken(b"]("),
            "the pickle ends within an instruction that needs 1 more bytes"
        );
        assert_eq!(broken(b"](."), "the stack is empty");
        assert_eq!(broken(b"\x86."), "the stack is empty");
        assert_eq!(broken(b"K\x01(K\x02\x86."), "the stack is empty");
        assert_eq!(
            broken(b"h\x05."),
            "refers to memo entry 5, which isn't there"
        );
        assert_eq!(broken(b"t."), "expected a mark on the stack");
        assert_eq!(broken(b"}(K\x01u."), "expected a value for every key");
        assert!(broken(b"X\xff\xff\xff\xff").contains("4294967295 more bytes"));
        assert!(broken(b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff").contains("more bytes"));
        assert!(broken(b")\x81.").contains("creates an object"));
    }

    #[test]
    fn growth_is_bounded() {
        // A list that is doubled by being appended to itself needs no more than its instructions.
        let mut bytes = b"]q\x00".to_vec();
        bytes.extend(b"h\x00a".repeat(1000));
        bytes.push(b'.');
        let pickle = Pickle::read(&bytes).unwrap();
        assert!(matches!(pickle.get(pickle.root), Object::Sequence(items) if items.len() == 1000));
        assert!(broken(&vec![b'N'; MAX_OBJECTS + 1]).contains("objects"));
        let mut dup = b"N".to_vec();
        dup.resize(MAX_OBJECTS + 2, b'2');
        assert!(broken(&dup).contains("stack"));
        assert!(broken(&vec![b'('; MAX_OBJECTS + 1]).contains("marks"));
    }
}
