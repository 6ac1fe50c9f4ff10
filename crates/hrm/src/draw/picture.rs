//! A finished picture.

use std::ffi::OsString;
use std::io::{Cursor, Write};
use std::path::Path;

use image::{ImageFormat, RgbImage};

use super::error::DrawError;

/// Pixels, ready to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    pixels: RgbImage,
}

impl Picture {
    pub(super) fn new(pixels: RgbImage) -> Self {
        Self { pixels }
    }

    pub(super) fn pixels(&self) -> &RgbImage {
        &self.pixels
    }

    /// Pixels from left to right.
    pub fn width(&self) -> u32 {
        self.pixels.width()
    }

    /// Pixels from top to bottom.
    pub fn height(&self) -> u32 {
        self.pixels.height()
    }

    /// Red, green and blue of a pixel; `None` outside of the picture.
    pub fn pixel(&self, x: u32, y: u32) -> Option<[u8; 3]> {
        self.pixels.get_pixel_checked(x, y).map(|pixel| pixel.0)
    }

    /// The picture as a PNG file's bytes.
    ///
    /// # Errors
    /// [`DrawError::Encode`].
    pub fn png(&self) -> Result<Vec<u8>, DrawError> {
        let mut bytes = Cursor::new(Vec::new());
        self.pixels
            .write_to(&mut bytes, ImageFormat::Png)
            .map_err(|reason| DrawError::Encode {
                format: "PNG",
                reason,
            })?;
        Ok(bytes.into_inner())
    }

    /// Writes a PNG file, whole or not at all; one that is there is replaced.
    ///
    /// # Errors
    /// [`DrawError::Encode`], [`DrawError::Write`].
    pub fn save_png(&self, path: impl AsRef<Path>) -> Result<(), DrawError> {
        write_whole(path.as_ref(), &self.png()?)
    }
}

/// Writes to a temporary name beside the file, then renames.
pub(super) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), DrawError> {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(name);
    let written = (|| {
        let mut file = std::fs::File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    })();
    if written.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    written.map_err(|source| DrawError::Write {
        path: path.to_owned(),
        source,
    })
}
