//! What the painters paint on: linear colours without an upper bound, developed like film at the end.

use super::noise::{Dice, Noise, mix};
use super::{HEIGHT_PX, WIDTH_PX};

/// Red, green and blue; 1 is as bright as paper.
pub(super) type Colour = [f32; 3];

/// The picture while it is painted.
#[derive(Debug)]
pub(super) struct Canvas {
    pixels: Vec<Colour>,
}

impl Canvas {
    pub(super) const WIDTH: usize = WIDTH_PX as usize;
    pub(super) const HEIGHT: usize = HEIGHT_PX as usize;
    /// Painters measure in heights: x runs from 0 to this, y from 0 to 1.
    pub(super) const ASPECT: f32 = WIDTH_PX as f32 / HEIGHT_PX as f32;

    /// Asks for the colour of each pixel.
    pub(super) fn shade(colour: impl Fn(f32, f32) -> Colour) -> Canvas {
        let mut pixels = Vec::with_capacity(Self::WIDTH * Self::HEIGHT);
        for row in 0..Self::HEIGHT {
            let y = row as f32 / Self::HEIGHT as f32;
            for column in 0..Self::WIDTH {
                pixels.push(colour(column as f32 / Self::HEIGHT as f32, y));
            }
        }
        Canvas { pixels }
    }

    /// Asks for the colour of each pixel again, given the one it has.
    pub(super) fn repaint(mut self, colour: impl Fn(f32, f32, Colour) -> Colour) -> Canvas {
        for (index, pixel) in self.pixels.iter_mut().enumerate() {
            let (column, row) = (index % Self::WIDTH, index / Self::WIDTH);
            *pixel = colour(column as f32 / Self::HEIGHT as f32, row as f32 / Self::HEIGHT as f32, *pixel);
        }
        self
    }

    /// Adds light at a point, shared among the four pixels round it; outside the canvas nothing happens.
    pub(super) fn glow(&mut self, x: f32, y: f32, light: Colour) {
        let (x, y) = (x * Self::HEIGHT as f32, y * Self::HEIGHT as f32);
        if !(x >= 0.0 && y >= 0.0 && x < (Self::WIDTH - 1) as f32 && y < (Self::HEIGHT - 1) as f32) {
            return;
        }
        let (column, row) = (x as usize, y as usize);
        let (fx, fy) = (x - column as f32, y - row as f32);
        let index = row * Self::WIDTH + column;
        for (offset, share) in [
            (0, (1.0 - fx) * (1.0 - fy)),
            (1, fx * (1.0 - fy)),
            (Self::WIDTH, (1.0 - fx) * fy),
            (Self::WIDTH + 1, fx * fy),
        ] {
            add(&mut self.pixels[index + offset], light, share);
        }
    }

    /// Adds a soft round light of that radius, with rays if `spikes`.
    pub(super) fn star(&mut self, x: f32, y: f32, radius: f32, light: Colour, spikes: bool) {
        let reach = radius * if spikes { 9.0 } else { 3.0 };
        let scale = Self::HEIGHT as f32;
        let rows = ((y - reach) * scale).max(0.0) as usize..=((y + reach) * scale).max(0.0) as usize;
        for row in rows.take_while(|&row| row < Self::HEIGHT) {
            let columns = ((x - reach) * scale).max(0.0) as usize..=((x + reach) * scale).max(0.0) as usize;
            for column in columns.take_while(|&column| column < Self::WIDTH) {
                let (dx, dy) = ((column as f32 / scale - x) / radius, (row as f32 / scale - y) / radius);
                let mut strength = (-(dx * dx + dy * dy)).exp();
                if spikes {
                    let (ax, ay) = (dx.abs(), dy.abs());
                    strength += 0.35 * ((-ax * 0.55 - ay * 7.0).exp() + (-ay * 0.55 - ax * 7.0).exp());
                }
                add(&mut self.pixels[row * Self::WIDTH + column], light, strength);
            }
        }
    }

    /// Scatters stars over the rows above `depth`, fewer towards it.
    pub(super) fn starfield(&mut self, dice: &mut Dice, count: usize, depth: f32) {
        for _ in 0..count {
            let (x, y) = (dice.between(0.0, Self::ASPECT), depth * dice.roll() * dice.between(0.6, 1.0));
            let warm = dice.roll();
            let brightness = dice.roll().powi(6) * 2.2 + 0.12;
            let light =
                [brightness * mix(0.75, 1.0, warm), brightness * 0.88, brightness * mix(1.0, 0.72, warm)];
            if brightness > 1.1 {
                self.star(x, y, 0.0016, light, false);
            } else {
                self.glow(x, y, light);
            }
        }
    }

    /// Turns everything below `horizon` into water that mirrors what is above it.
    pub(super) fn mirror(&mut self, horizon: f32, tint: Colour, waves: Noise) {
        let shore = (horizon * Self::HEIGHT as f32) as usize;
        for row in shore..Self::HEIGHT {
            let depth = (row - shore) as f32 / (Self::HEIGHT - shore) as f32;
            let y = row as f32 / Self::HEIGHT as f32;
            // Waves look longer near the eye than at the horizon.
            let (across, along) = (mix(26.0, 7.0, depth.sqrt()), 6.0 / (depth + 0.04));
            for column in 0..Self::WIDTH {
                let x = column as f32 / Self::HEIGHT as f32;
                let swell = waves.at(x * across, along * 8.0)
                    + 0.5 * waves.at(x * across * 2.3 + y * 31.0, along * 19.0);
                let source_row = shore as f32 * (1.0 - depth * 0.92) + swell * (4.0 + 95.0 * depth) - 1.0;
                let source_column = column as f32 + swell * (2.0 + 16.0 * depth);
                let source_row = (source_row.max(0.0) as usize).min(shore.saturating_sub(1));
                let source_column = (source_column.max(0.0) as usize).min(Self::WIDTH - 1);
                let seen = self.pixels[source_row * Self::WIDTH + source_column];
                let kept = mix(0.82, 0.46, depth);
                let water = &mut self.pixels[row * Self::WIDTH + column];
                for channel in 0..3 {
                    water[channel] = seen[channel] * kept + tint[channel] * (0.12 + 0.5 * depth);
                }
            }
        }
    }

    /// The picture as bytes: highlights roll off, edges darken a little, and grain hides the steps.
    pub(super) fn develop(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.pixels.len() * 3);
        let mut grain = 0x2545_f491u32;
        for (index, pixel) in self.pixels.iter().enumerate() {
            let x = (index % Self::WIDTH) as f32 / Self::WIDTH as f32 - 0.5;
            let y = (index / Self::WIDTH) as f32 / Self::HEIGHT as f32 - 0.5;
            let vignette = 1.0 - 0.42 * (x * x + y * y);
            grain = grain.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let speck = ((grain >> 24) as f32 / 255.0 - 0.5) * 1.6;
            for light in pixel {
                let light = (light * vignette).max(0.0);
                // Straight up to 0.75, then ever closer to 1.
                let film = if light < 0.75 { light } else { 1.0 - 0.25 * (-(light - 0.75) * 4.0).exp2() };
                bytes.push((film * 255.0 + speck).clamp(0.0, 255.0) as u8);
            }
        }
        bytes
    }
}

/// Colours strung along a line from 0 to 1.
#[derive(Debug)]
pub(super) struct Ramp {
    colours: Vec<Colour>,
}

impl Ramp {
    /// How finely the line is cut: neighbours differ by less than a byte's step.
    const STEPS: usize = 1024;

    /// Evenly spaced stops, written as `0xrrggbb`.
    pub(super) fn new(stops: &[u32]) -> Ramp {
        let stops: Vec<Colour> = stops.iter().map(|&stop| rgb(stop)).collect();
        let colours = (0..=Self::STEPS)
            .map(|index| {
                let place = index as f32 / Self::STEPS as f32 * (stops.len() - 1) as f32;
                let stop = (place as usize).min(stops.len() - 2);
                blend(stops[stop], stops[stop + 1], place - stop as f32)
            })
            .collect();
        Ramp { colours }
    }

    pub(super) fn at(&self, place: f32) -> Colour {
        self.colours[(place.clamp(0.0, 1.0) * Self::STEPS as f32) as usize]
    }
}

/// A colour as it is written in a style sheet.
pub(super) fn rgb(hex: u32) -> Colour {
    [16, 8, 0].map(|shift| ((hex >> shift) & 0xff) as f32 / 255.0)
}

pub(super) fn blend(a: Colour, b: Colour, t: f32) -> Colour {
    [mix(a[0], b[0], t), mix(a[1], b[1], t), mix(a[2], b[2], t)]
}

pub(super) fn scale(colour: Colour, by: f32) -> Colour {
    colour.map(|channel| channel * by)
}

pub(super) fn plus(a: Colour, b: Colour) -> Colour {
    [a[0] + b[0], a[1] + b[1], a[2] + b[2]]
}

fn add(pixel: &mut Colour, light: Colour, share: f32) {
    for channel in 0..3 {
        pixel[channel] += light[channel] * share;
    }
}
