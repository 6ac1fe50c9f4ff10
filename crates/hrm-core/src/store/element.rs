//! Element types of tensors in files.

use half::{bf16, f16};

/// Element type of a tensor in a file. All are stored little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DType {
    /// 64-bit float.
    F64,
    /// 32-bit float.
    F32,
    /// 16-bit float.
    F16,
    /// bfloat16.
    BF16,
    /// 64-bit signed integer.
    I64,
    /// 32-bit signed integer.
    I32,
    /// 16-bit signed integer.
    I16,
    /// 8-bit signed integer.
    I8,
    /// 8-bit unsigned integer.
    U8,
    /// One byte, zero for false.
    Bool,
}

impl std::fmt::Display for DType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(self, f)
    }
}

impl DType {
    /// Bytes of one element.
    pub const fn size(self) -> usize {
        match self {
            Self::F64 | Self::I64 => 8,
            Self::F32 | Self::I32 => 4,
            Self::F16 | Self::BF16 | Self::I16 => 2,
            Self::I8 | Self::U8 | Self::Bool => 1,
        }
    }

    /// Whether the elements are floats.
    pub const fn is_float(self) -> bool {
        matches!(self, Self::F64 | Self::F32 | Self::F16 | Self::BF16)
    }

    /// Appends the elements in `bytes` to `out` as f32; an incomplete last element is left out. Exact for F32, F16 and
    /// BF16; F64 is rounded. Appends nothing where the type is no float.
    pub(super) fn extend_f32(self, bytes: &[u8], out: &mut Vec<f32>) {
        match self {
            Self::F64 => out.extend(values(bytes).map(|b| f64::from_le_bytes(b) as f32)),
            Self::F32 => out.extend(values(bytes).map(f32::from_le_bytes)),
            Self::F16 => out.extend(values(bytes).map(|b| f16::from_le_bytes(b).to_f32())),
            Self::BF16 => out.extend(values(bytes).map(|b| bf16::from_le_bytes(b).to_f32())),
            _ => {}
        }
    }

    /// As [`extend_f32`](Self::extend_f32) for the integers and booleans.
    pub(super) fn extend_i64(self, bytes: &[u8], out: &mut Vec<i64>) {
        match self {
            Self::I64 => out.extend(values(bytes).map(i64::from_le_bytes)),
            Self::I32 => out.extend(values(bytes).map(|b| i64::from(i32::from_le_bytes(b)))),
            Self::I16 => out.extend(values(bytes).map(|b| i64::from(i16::from_le_bytes(b)))),
            Self::I8 => out.extend(bytes.iter().map(|&b| i64::from(b as i8))),
            Self::U8 => out.extend(bytes.iter().map(|&b| i64::from(b))),
            Self::Bool => out.extend(bytes.iter().map(|&b| i64::from(b != 0))),
            _ => {}
        }
    }

    /// The types that this crate reads, out of those of the safetensors format.
    pub(super) fn from_safetensors(dtype: safetensors::Dtype) -> Option<Self> {
        use safetensors::Dtype as S;
        Some(match dtype {
            S::F64 => Self::F64,
            S::F32 => Self::F32,
            S::F16 => Self::F16,
            S::BF16 => Self::BF16,
            S::I64 => Self::I64,
            S::I32 => Self::I32,
            S::I16 => Self::I16,
            S::I8 => Self::I8,
            S::U8 => Self::U8,
            S::BOOL => Self::Bool,
            _ => return None,
        })
    }

    /// The type of the elements of a torch storage class, `torch.FloatStorage` and so on.
    pub(super) fn from_torch_storage(class: &str) -> Option<Self> {
        Some(match class {
            "DoubleStorage" => Self::F64,
            "FloatStorage" => Self::F32,
            "HalfStorage" => Self::F16,
            "BFloat16Storage" => Self::BF16,
            "LongStorage" => Self::I64,
            "IntStorage" => Self::I32,
            "ShortStorage" => Self::I16,
            "CharStorage" => Self::I8,
            "ByteStorage" => Self::U8,
            "BoolStorage" => Self::Bool,
            _ => return None,
        })
    }
}

fn values<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> + '_ {
    bytes.as_chunks::<N>().0.iter().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_of_all_widths_become_f32() {
        let mut out = Vec::new();
        DType::F64.extend_f32(&(-2.5f64).to_le_bytes(), &mut out);
        DType::F32.extend_f32(&0.1f32.to_le_bytes(), &mut out);
        DType::F16.extend_f32(&[0x00, 0x3c], &mut out);
        DType::BF16.extend_f32(&[0x80, 0x3f, 0xff], &mut out);
        assert_eq!(out, [-2.5, 0.1, 1.0, 1.0]);
    }

    #[test]
    fn integers_keep_their_sign() {
        let mut out = Vec::new();
        DType::I8.extend_i64(&[0xff], &mut out);
        DType::U8.extend_i64(&[0xff], &mut out);
        DType::Bool.extend_i64(&[7], &mut out);
        DType::I32.extend_i64(&(-100i32).to_le_bytes(), &mut out);
        assert_eq!(out, [-1, 255, 1, -100]);
    }
}
