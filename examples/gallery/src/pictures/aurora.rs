//! Curtains of northern light over a lake.

use super::canvas::{Canvas, Colour, Ramp, blend, plus, rgb, scale};
use super::noise::{Dice, Noise, mix};

struct Mood {
    seed: u32,
    sky: &'static [u32],
    foot: u32,
    crown: u32,
    horizon: f32,
}

const MOODS: [Mood; 3] = [
    Mood {
        seed: 6,
        sky: &[0x02040f, 0x06122b, 0x0c2a44, 0x1a4a55],
        foot: 0x4dffb0,
        crown: 0x7a4dff,
        horizon: 0.72,
    },
    Mood {
        seed: 15,
        sky: &[0x05030f, 0x140a2e, 0x2a1450, 0x4a2a68],
        foot: 0xff6bb8,
        crown: 0x4d7aff,
        horizon: 0.7,
    },
    Mood {
        seed: 37,
        sky: &[0x01080c, 0x042028, 0x083a3a, 0x125a4a],
        foot: 0xa8ff6b,
        crown: 0x2fc7d6,
        horizon: 0.74,
    },
];

/// How many curtains hang behind each other.
const CURTAINS: usize = 4;

/// One curtain at one column: where it ends below, how bright and how tall it is.
#[derive(Clone, Copy)]
struct Fold {
    foot: f32,
    strength: f32,
    tall: f32,
}

pub(super) fn paint(variant: usize) -> Canvas {
    let mood = &MOODS[variant % MOODS.len()];
    let (sky, foot, crown) = (Ramp::new(mood.sky), rgb(mood.foot), rgb(mood.crown));
    let folds: Vec<[Fold; CURTAINS]> = (0..Canvas::WIDTH)
        .map(|column| {
            let x = column as f32 / Canvas::HEIGHT as f32;
            std::array::from_fn(|curtain| fold(mood.seed, curtain, x))
        })
        .collect();
    let mut canvas = Canvas::shade(|x, y| {
        if y > mood.horizon {
            return [0.0; 3];
        }
        let column = (x * Canvas::HEIGHT as f32) as usize;
        let light = folds[column].iter().map(|fold| glow(fold, y, foot, crown));
        light.fold(sky.at(y / mood.horizon), plus)
    });
    canvas.starfield(&mut Dice::new(u64::from(mood.seed)), 1300, mood.horizon);
    let hills = Noise::new(mood.seed + 3);
    let skyline: Vec<f32> = (0..Canvas::WIDTH)
        .map(|column| {
            let x = column as f32 / Canvas::HEIGHT as f32;
            let trees = hills.at(x * 150.0, 3.0).abs() * 0.014;
            mood.horizon - 0.025 - (hills.ridged(x * 1.5, 2.0, 5) - 0.42).max(0.0) * 0.28 - trees
        })
        .collect();
    let mut canvas = canvas.repaint(|x, y, behind| {
        let crest = skyline[(x * Canvas::HEIGHT as f32) as usize];
        if y > crest {
            blend(rgb(0x02050a), scale(behind, 0.35), ((y - crest) * 3.0).min(0.5))
        } else {
            behind
        }
    });
    canvas.mirror(mood.horizon, rgb(0x03101a), Noise::new(mood.seed + 1));
    canvas
}

fn fold(seed: u32, curtain: usize, x: f32) -> Fold {
    let noise = Noise::new(seed * 13 + curtain as u32);
    let back = curtain as f32 / (CURTAINS - 1) as f32;
    let sway = noise.sum(x * 1.5, 0.3, 3);
    // Rays: the curtain is brighter where it folds towards the eye.
    let rays = 0.6 + 0.7 * noise.at(x * 26.0 + sway * 9.0, 5.0) + 0.3 * noise.at(x * 71.0 + sway * 9.0, 9.0);
    Fold {
        foot: mix(0.6, 0.34, back) + sway * 0.24,
        strength: (rays.max(0.05) * (0.45 + noise.at(x * 1.2, 7.0))).max(0.0) * mix(1.0, 0.6, back),
        tall: mix(0.13, 0.24, 0.5 + 0.5 * noise.at(x * 8.0, 2.0)),
    }
}

fn glow(fold: &Fold, y: f32, foot: Colour, crown: Colour) -> Colour {
    let above = fold.foot - y;
    let strength = if above < 0.0 { (above / 0.014).exp() } else { (-above / fold.tall).exp() };
    scale(blend(foot, crown, (above / 0.3).clamp(0.0, 1.0)), strength * fold.strength * 0.85)
}
