//! Crop and area resize of a frame that comes in pieces; only the resized image and two rows of sums are kept.
//!
//! Along an axis of `W` source pixels and `w <= W` output pixels a source pixel is `w` units wide and an output pixel
//! `W`, so all weights are integers and an output pixel is its weighted sum divided by `W * H`, to nearest. A source row
//! touches at most two output rows, hence two rows of sums; they stay below 2^32 for `W * H <= 2^24`.

use neji_format::{ImageFrontEnd, PixelFormat};

/// What the raw pixels of a crop were like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PixelStatistics {
    /// Darkest pixel.
    pub min: u8,
    /// Lightest pixel.
    pub max: u8,
    /// Pixels that are 0 or 255.
    pub saturated: u32,
    /// All pixels of the crop.
    pub pixels: u32,
}

/// State of the resize within a frame. The buffers belong to the caller.
#[derive(Debug, Clone)]
pub struct AreaResize {
    sensor_width: u32,
    sensor_height: u32,
    channels: u8,
    left: u32,
    top: u32,
    crop_width: u32,
    crop_height: u32,
    width: u32,
    height: u32,
    x: u32,
    y: u32,
    channel: u8,
    luma: u32,
    out_x: u32,
    room_x: u32,
    out_y: u32,
    room_y: u32,
    statistics: PixelStatistics,
}

impl AreaResize {
    /// Starts a frame of a checked configuration.
    pub fn new(config: &ImageFrontEnd) -> Self {
        let mut resize = Self {
            sensor_width: config.sensor.width.into(),
            sensor_height: config.sensor.height.into(),
            channels: if config.pixel_format == PixelFormat::Grey8 { 1 } else { 3 },
            left: config.crop.x.into(),
            top: config.crop.y.into(),
            crop_width: config.crop.width.into(),
            crop_height: config.crop.height.into(),
            width: config.resize.width.into(),
            height: config.resize.height.into(),
            x: 0,
            y: 0,
            channel: 0,
            luma: 0,
            out_x: 0,
            room_x: 0,
            out_y: 0,
            room_y: 0,
            statistics: PixelStatistics { min: 255, max: 0, saturated: 0, pixels: 0 },
        };
        resize.restart();
        resize
    }

    /// Forgets the frame.
    pub fn restart(&mut self) {
        (self.x, self.y, self.channel, self.luma) = (0, 0, 0, 0);
        (self.out_x, self.room_x) = (0, self.crop_width);
        (self.out_y, self.room_y) = (0, self.crop_height);
        self.statistics = PixelStatistics { min: 255, max: 0, saturated: 0, pixels: 0 };
    }

    /// True before the first sample of a frame.
    pub fn is_empty(&self) -> bool {
        self.x == 0 && self.y == 0 && self.channel == 0
    }

    /// True when all samples of the frame have come.
    pub fn is_complete(&self) -> bool {
        self.y >= self.sensor_height
    }

    /// What the raw pixels of the crop were like so far.
    pub fn statistics(&self) -> PixelStatistics {
        self.statistics
    }

    /// Takes samples off the front of `samples` up to the end of the frame; true when the frame is complete.
    ///
    /// `image` is `resize.width * resize.height`, `sums` twice `resize.width`; both must be the same in every call of a
    /// frame.
    pub fn push(&mut self, samples: &mut &[u8], image: &mut [u8], sums: &mut [u32]) -> bool {
        if self.is_empty() {
            sums.fill(0);
        }
        while !self.is_complete() {
            let Some((&sample, rest)) = samples.split_first() else { return false };
            *samples = rest;
            if self.channels == 1 {
                self.pixel(sample, image, sums);
                continue;
            }
            let weight = [77u32, 150, 29].get(usize::from(self.channel)).copied().unwrap_or(0);
            self.luma += weight * u32::from(sample);
            self.channel += 1;
            if self.channel == self.channels {
                let grey = (self.luma + 128) >> 8;
                (self.channel, self.luma) = (0, 0);
                self.pixel(grey.min(255) as u8, image, sums);
            }
        }
        true
    }

    fn pixel(&mut self, grey: u8, image: &mut [u8], sums: &mut [u32]) {
        let row_inside = self.y >= self.top && self.y < self.top + self.crop_height;
        if row_inside && self.x >= self.left && self.x < self.left + self.crop_width {
            self.count(grey);
            self.add(u32::from(grey), sums);
        }
        self.x += 1;
        if self.x == self.sensor_width {
            self.x = 0;
            self.y += 1;
            if row_inside {
                self.end_row(image, sums);
            }
        }
    }

    fn count(&mut self, grey: u8) {
        let statistics = &mut self.statistics;
        statistics.min = statistics.min.min(grey);
        statistics.max = statistics.max.max(grey);
        statistics.pixels += 1;
        statistics.saturated += u32::from(grey == 0 || grey == 255);
    }

    /// Adds a pixel to the one or two columns that it touches, in both rows of sums.
    fn add(&mut self, grey: u32, sums: &mut [u32]) {
        let first_row = self.height.min(self.room_y);
        let weights = [first_row, self.height - first_row];
        let first_column = self.width.min(self.room_x);
        for units in [first_column, self.width - first_column] {
            if units == 0 {
                continue;
            }
            let (upper, lower) = sums.split_at_mut((self.width as usize).min(sums.len()));
            for (row, weight) in [upper, lower].into_iter().zip(weights) {
                if let Some(sum) = row.get_mut(self.out_x as usize) {
                    *sum += grey * units * weight;
                }
            }
            self.room_x -= units;
            if self.room_x == 0 {
                self.out_x += 1;
                self.room_x = self.crop_width;
            }
        }
    }

    fn end_row(&mut self, image: &mut [u8], sums: &mut [u32]) {
        (self.out_x, self.room_x) = (0, self.crop_width);
        let first = self.height.min(self.room_y);
        self.room_y -= first;
        if self.room_y > 0 {
            return;
        }
        let width = self.width as usize;
        let total = (self.crop_width * self.crop_height).max(1);
        let (upper, lower) = sums.split_at_mut(width.min(sums.len()));
        let row = image.chunks_exact_mut(width.max(1)).nth(self.out_y as usize);
        for (pixel, sum) in row.into_iter().flatten().zip(upper.iter()) {
            *pixel = ((sum + total / 2) / total).min(255) as u8;
        }
        for (upper, lower) in upper.iter_mut().zip(lower) {
            *upper = core::mem::take(lower);
        }
        self.out_y += 1;
        self.room_y = self.crop_height - (self.height - first);
    }
}
