//! Pictures one after the other.

use std::path::Path;
use std::time::Duration;

use image::codecs::gif::{GifEncoder, Repeat};
use image::{Delay, DynamicImage, Frame, Rgb, RgbImage, imageops};

use super::error::DrawError;
use super::picture::{Picture, write_whole};

/// Frames with the time that each is shown, over and over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Animation {
    /// The frames. Smaller ones get white margins.
    pub frames: Vec<(Picture, Duration)>,
}

impl Animation {
    /// The animation as a GIF file's bytes.
    ///
    /// # Errors
    /// [`DrawError::Empty`] without a frame, [`DrawError::Encode`].
    pub fn gif(&self) -> Result<Vec<u8>, DrawError> {
        let sizes = || self.frames.iter().map(|(picture, _)| picture);
        let (Some(width), Some(height)) = (
            sizes().map(Picture::width).max(),
            sizes().map(Picture::height).max(),
        ) else {
            return Err(DrawError::Empty { what: "frame" });
        };
        let failed = |reason| DrawError::Encode {
            format: "GIF",
            reason,
        };
        let mut bytes = Vec::new();
        {
            let mut encoder = GifEncoder::new_with_speed(&mut bytes, 10);
            encoder.set_repeat(Repeat::Infinite).map_err(failed)?;
            for (picture, shown) in &self.frames {
                let mut pixels = RgbImage::from_pixel(width, height, Rgb([255; 3]));
                imageops::replace(&mut pixels, picture.pixels(), 0, 0);
                let pixels = DynamicImage::ImageRgb8(pixels).into_rgba8();
                let delay = Delay::from_saturating_duration(*shown);
                encoder
                    .encode_frame(Frame::from_parts(pixels, 0, 0, delay))
                    .map_err(failed)?;
            }
        }
        Ok(bytes)
    }

    /// Writes a GIF file, whole or not at all; one that is there is replaced.
    ///
    /// # Errors
    /// As [`Animation::gif`], and [`DrawError::Write`].
    pub fn save_gif(&self, path: impl AsRef<Path>) -> Result<(), DrawError> {
        write_whole(path.as_ref(), &self.gif()?)
    }
}
