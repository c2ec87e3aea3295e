//! Threads of light that follow a field of currents.

use std::f32::consts::TAU;

use super::canvas::{Canvas, Ramp, blend, rgb, scale};
use super::noise::{Dice, Field, Noise};

struct Mood {
    seed: u32,
    ground: (u32, u32),
    threads: &'static [u32],
    turns: f32,
}

const MOODS: [Mood; 3] = [
    Mood {
        seed: 8,
        ground: (0x0a0f24, 0x1a1238),
        threads: &[0x2ad4ff, 0x5b6bff, 0xb04bff, 0xff5fa2, 0xffb36b],
        turns: 0.85,
    },
    Mood {
        seed: 21,
        ground: (0x061a1c, 0x0a2a2a),
        threads: &[0x0fd3a0, 0x7cf29c, 0xe9f7a8, 0xffd166, 0x14a3b8],
        turns: 1.2,
    },
    Mood {
        seed: 34,
        ground: (0x1c0a0c, 0x2a0f18),
        threads: &[0xff3d3d, 0xff8a3d, 0xffd23d, 0xff6fa0, 0x9a3dff],
        turns: 0.65,
    },
];

/// Threads and their steps: about a million points of light.
const THREADS: usize = 5200;
const STEPS: usize = 210;
/// How far a step goes, in heights: just over a pixel, so that lines have no gaps.
const STEP: f32 = 0.0013;

pub(super) fn paint(variant: usize) -> Canvas {
    let mood = &MOODS[variant % MOODS.len()];
    let (above, below) = (rgb(mood.ground.0), rgb(mood.ground.1));
    let mut canvas = Canvas::shade(|_, y| blend(above, below, y));
    let noise = Noise::new(mood.seed);
    let currents =
        Field::sample(200, 150, |x, y| noise.sum(x * Canvas::ASPECT * 1.35, y * 1.35, 3) * TAU * mood.turns);
    let palette = Ramp::new(mood.threads);
    let hues = Noise::new(mood.seed + 7);
    let mut dice = Dice::new(u64::from(mood.seed));
    for _ in 0..THREADS {
        let mut x = dice.between(-0.1, Canvas::ASPECT + 0.1);
        let mut y = dice.between(-0.1, 1.1);
        let hue = hues.sum(x * 1.1, y * 1.1, 2) * 0.9 + 0.5 + dice.between(-0.08, 0.08);
        let light = scale(palette.at(hue), dice.between(0.16, 0.85));
        for taken in 0..STEPS {
            let along = taken as f32 / STEPS as f32;
            // Threads fade in and out, so that no end shows.
            canvas.glow(x, y, scale(light, 4.0 * along * (1.0 - along)));
            let angle = currents.at(x / Canvas::ASPECT, y);
            x += angle.cos() * STEP;
            y += angle.sin() * STEP;
        }
    }
    canvas
}
