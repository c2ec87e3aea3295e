//! Smooth randomness: gradient noise, sums of it, and fields sampled coarsely and read finely.

/// Gradient noise on the plane, about -1 to 1, the same for the same seed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Noise {
    seed: u32,
}

impl Noise {
    pub(super) fn new(seed: u32) -> Noise {
        Noise { seed: seed.wrapping_mul(0x9e37_79b9) ^ 0x51c6_4e6d }
    }

    pub(super) fn at(self, x: f32, y: f32) -> f32 {
        let (column, row) = (x.floor(), y.floor());
        let (fx, fy) = (x - column, y - row);
        let (column, row) = (column as i32, row as i32);
        let (sx, sy) = (fade(fx), fade(fy));
        let top = mix(self.corner(column, row, fx, fy), self.corner(column + 1, row, fx - 1.0, fy), sx);
        let bottom = mix(
            self.corner(column, row + 1, fx, fy - 1.0),
            self.corner(column + 1, row + 1, fx - 1.0, fy - 1.0),
            sx,
        );
        mix(top, bottom, sy) * 1.5
    }

    /// `octaves` layers, each twice as fine and half as strong as the one before.
    pub(super) fn sum(self, x: f32, y: f32, octaves: u32) -> f32 {
        let (mut total, mut strength, mut scale) = (0.0, 0.5, 1.0);
        for octave in 0..octaves {
            // The shift keeps the lattices from lining up at the origin.
            let shift = octave as f32 * 17.31;
            total += strength * self.at(x * scale + shift, y * scale - shift);
            strength *= 0.5;
            scale *= 2.03;
        }
        total
    }

    /// Like [`Noise::sum`], folded into sharp crests, 0 to about 1.
    pub(super) fn ridged(self, x: f32, y: f32, octaves: u32) -> f32 {
        let (mut total, mut strength, mut scale) = (0.0, 0.5, 1.0);
        for octave in 0..octaves {
            let shift = octave as f32 * 11.7;
            let crest = 1.0 - self.at(x * scale + shift, y * scale + shift).abs();
            total += strength * crest * crest;
            strength *= 0.5;
            scale *= 2.07;
        }
        total
    }

    fn corner(self, column: i32, row: i32, dx: f32, dy: f32) -> f32 {
        let mut h = self.seed
            ^ (column as u32).wrapping_mul(0x9e37_79b1)
            ^ (row as u32).wrapping_mul(0x85eb_ca77).rotate_left(13);
        h = (h ^ (h >> 15)).wrapping_mul(0x2c1b_3c6d);
        h = (h ^ (h >> 12)).wrapping_mul(0x297a_2d39);
        let (gx, gy) = SLOPES[(h >> 28) as usize];
        gx * dx + gy * dy
    }
}

/// Sixteen directions round the circle.
const SLOPES: [(f32, f32); 16] = [
    (1.0, 0.0),
    (0.924, 0.383),
    (0.707, 0.707),
    (0.383, 0.924),
    (0.0, 1.0),
    (-0.383, 0.924),
    (-0.707, 0.707),
    (-0.924, 0.383),
    (-1.0, 0.0),
    (-0.924, -0.383),
    (-0.707, -0.707),
    (-0.383, -0.924),
    (0.0, -1.0),
    (0.383, -0.924),
    (0.707, -0.707),
    (0.924, -0.383),
];

/// A function of the plane sampled on a grid: expensive noise is computed once for many pixels.
#[derive(Debug)]
pub(super) struct Field {
    columns: usize,
    rows: usize,
    values: Vec<f32>,
}

impl Field {
    /// Samples `value` over the unit square.
    pub(super) fn sample(columns: usize, rows: usize, value: impl Fn(f32, f32) -> f32) -> Field {
        let mut values = Vec::with_capacity(columns * rows);
        for row in 0..rows {
            for column in 0..columns {
                values.push(value(column as f32 / (columns - 1) as f32, row as f32 / (rows - 1) as f32));
            }
        }
        Field { columns, rows, values }
    }

    /// The value at a point of the unit square; outside of it, that of the nearest edge.
    pub(super) fn at(&self, x: f32, y: f32) -> f32 {
        let x = x.clamp(0.0, 1.0) * (self.columns - 1) as f32;
        let y = y.clamp(0.0, 1.0) * (self.rows - 1) as f32;
        let column = (x as usize).min(self.columns - 2);
        let row = (y as usize).min(self.rows - 2);
        let (fx, fy) = (x - column as f32, y - row as f32);
        let above = &self.values[row * self.columns + column..][..2];
        let below = &self.values[(row + 1) * self.columns + column..][..2];
        mix(mix(above[0], above[1], fx), mix(below[0], below[1], fx), fy)
    }
}

/// A sequence of numbers that look random, the same for the same seed.
#[derive(Debug)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(0x1234_5678_9abc_def1))
    }

    /// The next number, from 0 up to 1.
    pub(super) fn roll(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1u32 << 24) as f32
    }

    /// The next number between two bounds.
    pub(super) fn between(&mut self, low: f32, high: f32) -> f32 {
        mix(low, high, self.roll())
    }
}

pub(super) fn mix(a: f32, b: f32, t: f32) -> f32 {
    a + (b - a) * t
}

/// 0 below `from`, 1 above `to`, smooth between.
pub(super) fn step(from: f32, to: f32, x: f32) -> f32 {
    let t = ((x - from) / (to - from)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

fn fade(t: f32) -> f32 {
    t * t * t * (t * (t * 6.0 - 15.0) + 10.0)
}
