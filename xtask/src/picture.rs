//! Pictures of pages, looked at by a program.
//!
//! Invariant: a picture that cannot be read is an error, never a picture without colours.

use std::collections::BTreeMap;
use std::io;

/// Red, green and blue.
pub type Colour = [u8; 3];

/// A picture: its size, and its colours by how many points have them.
#[derive(Debug)]
pub struct Picture {
    /// Its width in points.
    pub width: u32,
    /// Its height in points.
    pub height: u32,
    /// The colours, with their number of points.
    pub colours: BTreeMap<Colour, u64>,
}

impl Picture {
    /// Reads a PNG file.
    ///
    /// # Errors
    /// When it is none.
    pub fn read(png: &[u8]) -> io::Result<Self> {
        let mut decoder = png::Decoder::new(io::Cursor::new(png));
        decoder.set_transformations(png::Transformations::normalize_to_color8());
        let mut reader = decoder.read_info().map_err(io::Error::other)?;
        let bytes = reader.output_buffer_size().ok_or_else(|| io::Error::other("it is too large"))?;
        let mut buffer = vec![0; bytes];
        let info = reader.next_frame(&mut buffer).map_err(io::Error::other)?;
        let samples = info.color_type.samples();
        if samples < 3 {
            return Err(io::Error::other("it has no colours"));
        }
        let mut colours: BTreeMap<Colour, u64> = BTreeMap::new();
        for point in buffer[..info.buffer_size()].chunks_exact(samples) {
            *colours.entry([point[0], point[1], point[2]]).or_default() += 1;
        }
        Ok(Self { width: info.width, height: info.height, colours })
    }

    /// The colour of most points.
    #[must_use]
    pub fn ground(&self) -> Colour {
        self.colours.iter().max_by_key(|(_, points)| **points).map(|(colour, _)| *colour).unwrap_or_default()
    }

    /// How many points have a colour.
    #[must_use]
    pub fn points(&self, colour: Colour) -> u64 {
        self.colours.get(&colour).copied().unwrap_or_default()
    }
}

/// A colour as style sheets write it: `#b4e2bf`.
#[must_use]
pub fn colour(text: &str) -> Option<Colour> {
    let digits = text.trim().strip_prefix('#')?;
    let digits = if digits.len() == 3 {
        digits.chars().flat_map(|digit| [digit, digit]).collect()
    } else {
        digits.to_owned()
    };
    let number = u32::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 6)?;
    let [_, red, green, blue] = number.to_be_bytes();
    Some([red, green, blue])
}

/// How well a text of one colour can be read on another: WCAG's contrast ratio, from 1 to 21.
#[must_use]
pub fn contrast(a: Colour, b: Colour) -> f64 {
    let light = |colour: Colour| {
        let part = |value: u8| {
            let value = f64::from(value) / 255.0;
            if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * part(colour[0]) + 0.7152 * part(colour[1]) + 0.0722 * part(colour[2])
    };
    let (a, b) = (light(a), light(b));
    (a.max(b) + 0.05) / (a.min(b) + 0.05)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_read_as_style_sheets_write_them() {
        assert_eq!(colour("#b4e2bf"), Some([0xb4, 0xe2, 0xbf]));
        assert_eq!(colour(" #fff"), Some([255, 255, 255]));
        assert_eq!(colour("red"), None);
        assert_eq!(colour("#12345"), None);
    }

    #[test]
    fn black_on_white_has_the_greatest_contrast() {
        assert!((contrast([0; 3], [255; 3]) - 21.0).abs() < 1e-9);
        assert!((contrast([9, 8, 7], [9, 8, 7]) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_picture_is_counted_by_colour() {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, 2, 1);
        encoder.set_color(png::ColorType::Rgb);
        encoder.write_header().unwrap().write_image_data(&[1, 2, 3, 1, 2, 3]).unwrap();
        let picture = Picture::read(&bytes).unwrap();
        assert_eq!((picture.width, picture.height, picture.points([1, 2, 3])), (2, 1, 2));
        assert_eq!(picture.ground(), [1, 2, 3]);
        assert!(Picture::read(b"no picture").is_err());
    }
}
