//! The one place with unsafe code: output buffers that are written before they are read, and products of strided
//! matrices by the `gemm` crate. Everything it offers is safe to call.
#![allow(unsafe_code)]

use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};

use super::threads::{share, share_of};

/// Memory that has not been written yet.
pub(super) struct Blank<'a>(&'a mut [MaybeUninit<f32>]);

impl<'a> Blank<'a> {
    /// Writes the values in order.
    ///
    /// # Panics
    /// If there are fewer values than elements.
    #[inline(always)]
    pub(super) fn write(self, values: impl Iterator<Item = f32>) -> &'a mut [f32] {
        let mut written = 0;
        for (slot, value) in self.0.iter_mut().zip(values) {
            slot.write(value);
            // An overflow check would keep the loop from being vectorised.
            written = usize::wrapping_add(written, 1);
        }
        assert_eq!(written, self.0.len(), "too few values for the output");
        // SAFETY: every element was written, and MaybeUninit<f32> has the layout of f32.
        unsafe { &mut *(std::ptr::from_mut(self.0) as *mut [f32]) }
    }

    /// Writes the first value of each pair to the first half, the second to the second half.
    ///
    /// # Panics
    /// If there are fewer pairs than half the elements, or their number is odd.
    #[inline(always)]
    pub(super) fn write_halves(self, values: impl Iterator<Item = (f32, f32)>) -> &'a mut [f32] {
        let (head, tail) = self.0.split_at_mut(self.0.len() / 2);
        assert_eq!(head.len(), tail.len(), "the halves differ");
        let mut written = 0;
        for ((first, second), (a, b)) in head.iter_mut().zip(tail.iter_mut()).zip(values) {
            first.write(a);
            second.write(b);
            written = usize::wrapping_add(written, 1);
        }
        assert_eq!(written, head.len(), "too few values for the output");
        // SAFETY: every element of both halves was written, and MaybeUninit<f32> has the layout of f32.
        unsafe { &mut *(std::ptr::from_mut(self.0) as *mut [f32]) }
    }
}

/// Computes one row of an output. A trait and not a closure, so that `#[inline(always)]` carries it into the
/// function that is compiled for the processor's vector instructions.
pub(super) trait RowKernel: Sync {
    /// Writes row `index` and gives it back, with a number to remember of it.
    fn row<'a, S: Simd>(&self, simd: S, index: usize, out: Blank<'a>) -> (&'a mut [f32], f32);
}

struct Rows<'a, K> {
    kernel: &'a K,
    first: usize,
    width: usize,
    out: &'a mut [MaybeUninit<f32>],
    notes: &'a mut [f32],
}

impl<K: RowKernel> WithSimd for Rows<'_, K> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let rows = self.out.chunks_exact_mut(self.width);
        for (i, (row, note)) in rows.zip(self.notes).enumerate() {
            let place = row.as_ptr().cast::<f32>();
            let (written, value) = self.kernel.row(simd, self.first + i, Blank(row));
            assert!(
                std::ptr::eq(written.as_ptr(), place) && written.len() == self.width,
                "a kernel gave back another row than it was given"
            );
            *note = value;
        }
    }
}

/// Makes `[rows, width]` row by row, and the number that the kernel gave with each row.
pub(super) fn make_rows<K: RowKernel>(
    rows: usize,
    width: usize,
    kernel: &K,
) -> (Vec<f32>, Vec<f32>) {
    let len = rows * width;
    let mut out = Vec::with_capacity(len);
    let mut notes = vec![0.0; rows];
    if len > 0 {
        let part = share_of(rows, len);
        let spare = &mut out.spare_capacity_mut()[..len];
        let parts = spare.chunks_mut(part * width).zip(notes.chunks_mut(part));
        let parts = parts.enumerate().map(|(index, (out, notes))| Rows {
            kernel,
            first: index * part,
            width,
            out,
            notes,
        });
        let arch = Arch::new();
        share(parts, |rows| arch.dispatch(rows));
    }
    // SAFETY: each of the `rows` rows was given back, written, by the kernel (a panic would not come here).
    unsafe { out.set_len(len) };
    (out, notes)
}

/// Rows and columns of the squares in which [`transposed`] goes: a side is a cache line.
const SQUARE: usize = 16;

/// `[blocks, rows, cols]` to `[blocks, cols, rows]`.
///
/// # Panics
/// If `data` is not a whole number of blocks.
pub(super) fn transposed(data: &[f32], rows: usize, cols: usize) -> Vec<f32> {
    let len = data.len();
    let mut out: Vec<f32> = Vec::with_capacity(len);
    if len > 0 {
        assert!(len.is_multiple_of(rows * cols), "whole blocks");
        let spare = &mut out.spare_capacity_mut()[..len];
        let blocks = spare
            .chunks_exact_mut(rows * cols)
            .zip(data.chunks_exact(rows * cols));
        let bands = blocks.flat_map(|(out, data)| {
            let bands = out.chunks_mut(SQUARE * rows).enumerate();
            bands.map(move |(band, out)| (band * SQUARE, out, data))
        });
        let bands: Vec<_> = bands.collect();
        let part = share_of(bands.len(), len);
        let mut bands = bands.into_iter();
        let parts = std::iter::from_fn(|| {
            let share: Vec<_> = bands.by_ref().take(part).collect();
            (!share.is_empty()).then_some(share)
        });
        share(parts, |bands| {
            for (first, out, data) in bands {
                transpose_band(out, data, first, rows, cols);
            }
        });
    }
    // SAFETY: the bands are all of the blocks, and each writes all of its elements (a panic would not come here).
    unsafe { out.set_len(len) };
    out
}

/// Writes the columns `first..` of `data` as the rows of `out`, `rows` elements each.
fn transpose_band(
    out: &mut [MaybeUninit<f32>],
    data: &[f32],
    first: usize,
    rows: usize,
    cols: usize,
) {
    let width = out.len() / rows;
    for top in (0..rows).step_by(SQUARE) {
        let height = SQUARE.min(rows - top);
        if width == SQUARE && height == SQUARE {
            // Of a fixed size, so that the compiler unrolls it.
            let lines: [&[f32; SQUARE]; SQUARE] = std::array::from_fn(|j| {
                let start = (top + j) * cols + first;
                data[start..]
                    .first_chunk()
                    .expect("the square lies in the matrix")
            });
            for (i, start) in (top..).step_by(rows).take(SQUARE).enumerate() {
                let line: [f32; SQUARE] = std::array::from_fn(|j| lines[j][i]);
                out[start..start + SQUARE].write_copy_of_slice(&line);
            }
        } else {
            for i in 0..width {
                for j in 0..height {
                    out[i * rows + top + j].write(data[(top + j) * cols + first + i]);
                }
            }
        }
    }
}

/// A matrix to read: rows and columns at any stride in a slice.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a> Matrix<'a> {
    /// A matrix whose rows of `cols` neighbouring elements begin `row_stride` apart, the first at the start of `data`.
    ///
    /// # Panics
    /// If it does not fit `data`.
    pub(super) fn new(data: &'a [f32], rows: usize, cols: usize, row_stride: usize) -> Self {
        assert!(
            rows == 0 || cols == 0 || (rows - 1) * row_stride + cols <= data.len(),
            "a matrix of {rows} x {cols} with stride {row_stride} does not fit {} elements",
            data.len()
        );
        Self {
            data,
            rows,
            cols,
            row_stride,
            col_stride: 1,
        }
    }

    /// The transposed matrix, in the same memory.
    pub(super) fn t(self) -> Self {
        Self {
            data: self.data,
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
        }
    }

    /// Row `index` of a matrix that was not transposed.
    #[inline(always)]
    pub(super) fn row(&self, index: usize) -> &'a [f32] {
        debug_assert_eq!(self.col_stride, 1);
        let start = index * self.row_stride;
        &self.data[start..start + self.cols]
    }

    /// Some rows of a matrix that was not transposed.
    pub(super) fn rows(self, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.rows && self.col_stride == 1);
        let start = (range.start * self.row_stride).min(self.data.len());
        Self::new(&self.data[start..], range.len(), self.cols, self.row_stride)
    }
}

/// A matrix to write: rows of neighbouring elements at any distance.
pub(super) struct MatrixMut<'a> {
    // Valid for `rows` rows of `cols` elements, `row_stride` apart, and for no one else while 'a lasts.
    data: *mut f32,
    rows: usize,
    cols: usize,
    row_stride: usize,
    lifetime: PhantomData<&'a mut [f32]>,
}

// SAFETY: it is a set of exclusive borrows of f32 slices, which may go to another thread.
unsafe impl Send for MatrixMut<'_> {}

impl<'a> MatrixMut<'a> {
    /// A matrix whose rows of `cols` elements follow each other from the start of `data`.
    ///
    /// # Panics
    /// If it does not fit `data`.
    pub(super) fn new(data: &'a mut [f32], rows: usize, cols: usize) -> Self {
        assert!(
            rows * cols <= data.len(),
            "the matrix does not fit its memory"
        );
        Self {
            data: data.as_mut_ptr(),
            rows,
            cols,
            row_stride: cols,
            lifetime: PhantomData,
        }
    }

    /// Cuts `[blocks, rows, width]` into the bands of `band` columns of each block: the bands of the first block
    /// from left to right, then those of the second, and so on.
    ///
    /// # Panics
    /// If `data` is not a whole number of blocks or `width` not a whole number of bands.
    pub(super) fn bands(data: &'a mut [f32], rows: usize, width: usize, band: usize) -> Vec<Self> {
        if data.is_empty() {
            return Vec::new();
        }
        assert!(data.len().is_multiple_of(rows * width) && width.is_multiple_of(band));
        let mut bands = Vec::with_capacity(data.len() / rows / band);
        for block in data.chunks_exact_mut(rows * width) {
            let start = block.as_mut_ptr();
            for index in 0..width / band {
                bands.push(Self {
                    // SAFETY: index * band < width, which lies in the block; the bands of a block share no element.
                    data: unsafe { start.add(index * band) },
                    rows,
                    cols: band,
                    row_stride: width,
                    lifetime: PhantomData,
                });
            }
        }
        bands
    }

    /// Row `index`.
    #[inline(always)]
    pub(super) fn row(&mut self, index: usize) -> &mut [f32] {
        assert!(index < self.rows);
        // SAFETY: the row lies in the matrix, which is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.data.add(index * self.row_stride), self.cols) }
    }

    /// Some of the rows.
    pub(super) fn rows(&mut self, range: Range<usize>) -> MatrixMut<'_> {
        assert!(range.start <= range.end && range.end <= self.rows);
        MatrixMut {
            // An empty range may begin where the memory ends.
            data: self.data.wrapping_add(range.start * self.row_stride),
            rows: range.len(),
            cols: self.cols,
            row_stride: self.row_stride,
            lifetime: PhantomData,
        }
    }
}

/// Who works at a product.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Threads {
    /// The calling thread alone.
    One,
    /// All, when the product is large enough.
    All,
}

impl Threads {
    fn parallelism(self) -> gemm::Parallelism {
        match self {
            Threads::One => gemm::Parallelism::None,
            Threads::All => gemm::Parallelism::Rayon(0),
        }
    }
}

/// `out = lhs · rhs`, or `out += lhs · rhs` to accumulate.
///
/// # Panics
/// If the sizes do not match.
pub(super) fn multiply(
    out: &mut MatrixMut<'_>,
    lhs: Matrix<'_>,
    rhs: Matrix<'_>,
    accumulate: bool,
) {
    assert!(
        out.rows == lhs.rows && out.cols == rhs.cols && lhs.cols == rhs.rows,
        "product of [{}, {}] and [{}, {}] into [{}, {}]",
        lhs.rows,
        lhs.cols,
        rhs.rows,
        rhs.cols,
        out.rows,
        out.cols
    );
    // SAFETY: the sizes match, and each view was checked to lie in its memory when it was made.
    unsafe { gemm_f32(out.data, out.row_stride, lhs, rhs, accumulate, Threads::One) }
}

/// `lhs · rhs` as new memory.
///
/// # Panics
/// If the sizes do not match.
pub(super) fn product(lhs: Matrix<'_>, rhs: Matrix<'_>, threads: Threads) -> Vec<f32> {
    assert_eq!(lhs.cols, rhs.rows, "product: the inner sizes differ");
    let len = lhs.rows * rhs.cols;
    let mut out: Vec<f32> = Vec::with_capacity(len);
    // SAFETY: the memory holds lhs.rows rows of rhs.cols elements, all of which the product writes without reading
    // them (with an inner size of 0 it writes zeros).
    unsafe {
        gemm_f32(out.as_mut_ptr(), rhs.cols, lhs, rhs, false, threads);
        out.set_len(len);
    }
    out
}

/// # Safety
/// `out` is valid and exclusive for `lhs.rows` rows of `rhs.cols` elements, `row_stride` apart, initialised when
/// `accumulate` is set; `lhs.cols == rhs.rows`.
unsafe fn gemm_f32(
    out: *mut f32,
    row_stride: usize,
    lhs: Matrix<'_>,
    rhs: Matrix<'_>,
    accumulate: bool,
    threads: Threads,
) {
    // SAFETY: the caller vouches for `out`; `Matrix` keeps its elements inside its slice. Strides are below
    // isize::MAX as they lie in slices.
    unsafe {
        gemm::gemm(
            lhs.rows,
            rhs.cols,
            lhs.cols,
            out,
            1,
            row_stride as isize,
            accumulate,
            lhs.data.as_ptr(),
            lhs.col_stride as isize,
            lhs.row_stride as isize,
            rhs.data.as_ptr(),
            rhs.col_stride as isize,
            rhs.row_stride as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            threads.parallelism(),
        );
    }
}
