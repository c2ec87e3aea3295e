//! Clouds of gas between stars, and now and then a planet in front of them.

use super::canvas::{Canvas, Colour, Ramp, blend, plus, rgb, scale};
use super::noise::{Dice, Field, Noise, step};

struct Mood {
    seed: u32,
    gas: &'static [u32],
    veil: u32,
    planet: Option<(f32, f32, f32, u32)>,
}

const MOODS: [Mood; 3] = [
    Mood {
        seed: 3,
        gas: &[0x04050f, 0x1a0f3a, 0x6b1f6e, 0xe0486b, 0xffc58a, 0xfff6e0],
        veil: 0x2b7fc0,
        planet: None,
    },
    Mood {
        seed: 14,
        gas: &[0x02060d, 0x06233c, 0x0f5c74, 0x35b6a4, 0xc9f2c8, 0xffffff],
        veil: 0x7a3fb0,
        planet: Some((0.98, 0.66, 0.24, 0x7fd0e0)),
    },
    Mood {
        seed: 46,
        gas: &[0x070409, 0x2a0c14, 0x7a1f1a, 0xe07a2c, 0xffd98a, 0xffffff],
        veil: 0x3a4fc4,
        planet: None,
    },
];

/// Resolution of the gas: it has no edges that would show it.
const COLUMNS: usize = 534;
const ROWS: usize = 400;

pub(super) fn paint(variant: usize) -> Canvas {
    let mood = &MOODS[variant % MOODS.len()];
    let gas = Ramp::new(mood.gas);
    let veil = rgb(mood.veil);
    let (shape, dust) = (Noise::new(mood.seed), Noise::new(mood.seed + 100));
    let density = Field::sample(COLUMNS, ROWS, |x, y| {
        let (x, y) = (x * Canvas::ASPECT * 1.9, y * 1.9);
        let (wx, wy) = (shape.sum(x, y, 3), shape.sum(x + 5.2, y + 1.3, 3));
        let cloud = shape.sum(x + 1.7 * wx, y + 1.7 * wy, 6) * 0.5 + 0.5;
        let lanes = dust.ridged(x * 0.8 + wy, y * 0.8 - wx, 4);
        (cloud * 1.25 - 0.22) - step(0.62, 0.9, lanes) * 0.3
    });
    let thin = Field::sample(COLUMNS / 2, ROWS / 2, |x, y| {
        step(0.05, 0.75, dust.sum(x * Canvas::ASPECT * 1.3 + 9.0, y * 1.3, 4) + 0.25)
    });
    let mut canvas = Canvas::shade(|x, y| {
        let u = x / Canvas::ASPECT;
        let core = (-((x - 0.62).powi(2) + (y - 0.46).powi(2)) / 0.22).exp();
        let dense = (density.at(u, y) * (0.62 + 0.75 * core)).max(0.0);
        plus(gas.at(dense), scale(veil, thin.at(u, y) * 0.42 * (1.0 - dense).max(0.0)))
    });
    let mut dice = Dice::new(u64::from(mood.seed));
    canvas.starfield(&mut dice, 2600, 1.25);
    for _ in 0..9 {
        let (x, y) = (dice.between(0.05, Canvas::ASPECT), dice.between(0.05, 0.95));
        let light = blend([1.3, 1.15, 1.0], [0.9, 1.1, 1.4], dice.roll());
        canvas.star(x, y, dice.between(0.0022, 0.0055), light, true);
    }
    match mood.planet {
        Some(planet) => with_planet(canvas, planet),
        None => canvas,
    }
}

fn with_planet(canvas: Canvas, (cx, cy, radius, colour): (f32, f32, f32, u32)) -> Canvas {
    let (colour, bands) = (rgb(colour), Noise::new(77));
    canvas.repaint(|x, y, behind| {
        let (dx, dy) = ((x - cx) / radius, (y - cy) / radius);
        let squared = dx * dx + dy * dy;
        if squared >= 1.3 {
            return behind;
        }
        let air = scale(colour, 0.55 * (-(squared.sqrt() - 1.0).max(0.0) / 0.035).exp() * lit(dx, dy, 0.3));
        if squared >= 1.0 {
            return plus(behind, air);
        }
        let height = (1.0 - squared).sqrt();
        let stripe = bands.sum(dx * 1.2 + dy * 0.6, dy * 7.0 - dx * 2.4, 4);
        let ground: Colour = blend(scale(colour, 0.5), scale(colour, 1.05), stripe * 0.8 + 0.5);
        let rim = (1.0 - height).powi(3);
        let day = lit(dx, dy, height);
        let edge = step(1.0, 0.985, squared);
        blend(plus(behind, air), plus(scale(ground, day), scale(colour, rim * day * 0.9)), edge)
    })
}

/// How much of the light from the upper left reaches this point of a sphere.
fn lit(dx: f32, dy: f32, height: f32) -> f32 {
    (-0.72 * dx - 0.52 * dy + 0.34 * height).max(0.0).powf(0.8) + 0.012
}
