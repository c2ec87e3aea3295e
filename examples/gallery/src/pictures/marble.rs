//! Ink in water: noise that bends noise that bends noise.

use super::canvas::{Canvas, Ramp, blend, plus, rgb, scale};
use super::noise::{Field, Noise, step};

struct Mood {
    seed: u32,
    ink: &'static [u32],
    vein: u32,
}

const MOODS: [Mood; 3] = [
    Mood { seed: 2, ink: &[0x07122b, 0x123a6b, 0x2f7fa8, 0xd9e6d4, 0xf4b26b, 0xa83a2c], vein: 0xffe6b8 },
    Mood { seed: 19, ink: &[0x12041f, 0x4a0f52, 0xb8327a, 0xf58f7c, 0xffe2c4, 0x3f7f8c], vein: 0xfff0e0 },
    Mood { seed: 27, ink: &[0x04140f, 0x0c4038, 0x1f8068, 0xbfe0a0, 0xfff3cf, 0xd9a441], vein: 0xffd76b },
];

/// Resolution of the bends, which are smooth, and of the ink, which is not.
const COARSE: (usize, usize) = (267, 200);
const FINE: (usize, usize) = (800, 600);

pub(super) fn paint(variant: usize) -> Canvas {
    let mood = &MOODS[variant % MOODS.len()];
    let noise = Noise::new(mood.seed);
    let bend = |shift: f32| {
        Field::sample(COARSE.0, COARSE.1, move |x, y| {
            noise.sum(x * Canvas::ASPECT * 1.6 + shift, y * 1.6 - shift, 3)
        })
    };
    let (first, second) = (bend(0.0), bend(5.2));
    let swirl = |shift: f32| {
        Field::sample(COARSE.0, COARSE.1, |x, y| {
            let (wx, wy) = (first.at(x, y), second.at(x, y));
            noise.sum(x * Canvas::ASPECT * 1.6 + 2.6 * wx + shift, y * 1.6 + 2.6 * wy - shift, 4)
        })
    };
    let (third, fourth) = (swirl(1.7), swirl(8.3));
    let ink = Field::sample(FINE.0, FINE.1, |x, y| {
        noise.sum(x * Canvas::ASPECT * 1.6 + 2.8 * third.at(x, y), y * 1.6 + 2.8 * fourth.at(x, y), 5)
    });
    let (palette, vein) = (Ramp::new(mood.ink), rgb(mood.vein));
    Canvas::shade(|x, y| {
        let u = x / Canvas::ASPECT;
        let (value, warp) = (ink.at(u, y), third.at(u, y));
        let base = palette.at(value * 0.85 + 0.5 + warp * 0.28);
        let shade = blend(scale(base, 0.45), base, step(-0.55, 0.15, fourth.at(u, y)));
        // Fine gold lines where the ink folds.
        let fold = (value * 11.0 + warp * 4.0).sin().abs();
        plus(shade, scale(vein, step(0.075, 0.0, fold) * 0.3))
    })
}
