//! Sand from above, with the sun low enough to draw every crest.

use super::canvas::{Canvas, Ramp, blend, plus, rgb, scale};
use super::noise::{Field, Noise, step};

struct Mood {
    seed: u32,
    sand: &'static [u32],
    shadow: u32,
    spacing: f32,
}

const MOODS: [Mood; 3] = [
    Mood { seed: 17, sand: &[0x8a3b1c, 0xc8682e, 0xe99a4e, 0xffd9a0], shadow: 0x2a0f22, spacing: 5.2 },
    Mood { seed: 23, sand: &[0x5a6b8c, 0x93a4bd, 0xd3d6dc, 0xfff7ea], shadow: 0x1a2140, spacing: 6.4 },
    Mood { seed: 40, sand: &[0x6b2340, 0xb8485a, 0xee8a72, 0xffd0a8], shadow: 0x1b0c34, spacing: 4.2 },
];

/// Resolution of the relief: fine enough for the crests to stay sharp.
const COLUMNS: usize = 800;
const ROWS: usize = 600;

pub(super) fn paint(variant: usize) -> Canvas {
    let mood = &MOODS[variant % MOODS.len()];
    let noise = Noise::new(mood.seed);
    let winding = Field::sample(160, 120, |x, y| noise.sum(x * Canvas::ASPECT * 1.5, y * 1.5, 3));
    let relief = Field::sample(COLUMNS, ROWS, |u, y| {
        let x = u * Canvas::ASPECT;
        let bend = winding.at(u, y);
        let phase = (x * 0.42 + y) * mood.spacing + bend * 2.2;
        let rolling = 0.55 + 0.45 * winding.at(1.0 - u, y);
        dune(phase) * rolling + bend * 0.5
    });
    let sand = Ramp::new(mood.sand);
    let shadow = rgb(mood.shadow);
    let (dx, dy) = (1.0 / COLUMNS as f32, 1.0 / ROWS as f32);
    Canvas::shade(|x, y| {
        let u = x / Canvas::ASPECT;
        let height = relief.at(u, y);
        let east = (relief.at(u + dx, y) - height) / (dx * Canvas::ASPECT);
        let south = (relief.at(u, y + dy) - height) / dy;
        // Ripples run across the wind and die away on the steep lee side.
        let bend = winding.at(u, y);
        let ripples = ((x * 0.9 + y * 1.4) * 210.0 + bend * 60.0).sin() * step(5.0, 1.0, south.abs()) * 0.06;
        let light = 0.6 - east * 0.028 - south * 0.042 + ripples;
        let lit = sand.at(light * 0.75 + height * 0.22);
        let shaded = blend(shadow, lit, step(-0.1, 0.42, light));
        plus(shaded, scale([1.0, 0.85, 0.6], (light - 0.9).max(0.0) * 0.3))
    })
}

/// A wave that climbs slowly and falls steeply.
fn dune(phase: f32) -> f32 {
    let t = phase - phase.floor();
    if t < 0.74 { step(0.0, 0.9, t) } else { step(0.0, 0.9, 0.74) * (1.0 - step(0.74, 1.0, t)) }
}
