//! Mountain ranges one behind the other, each paler than the one before, in the mist of a low sun.

use super::canvas::{Canvas, Colour, Ramp, blend, plus, rgb, scale};
use super::noise::{Dice, Noise, mix, step};

struct Mood {
    seed: u32,
    sky: &'static [u32],
    haze: u32,
    near: u32,
    sun: (f32, f32, f32),
    sun_colour: u32,
    stars: usize,
}

const MOODS: [Mood; 3] = [
    Mood {
        seed: 11,
        sky: &[0x2b2d5b, 0x7b4b7e, 0xe07a6a, 0xffc27a, 0xffe3b0],
        haze: 0xf2a277,
        near: 0x1a1230,
        sun: (0.86, 0.43, 0.055),
        sun_colour: 0xfff0c8,
        stars: 0,
    },
    Mood {
        seed: 29,
        sky: &[0x0b1d3a, 0x17476b, 0x3f8a9b, 0x9fcfc4, 0xe8eedb],
        haze: 0x9cc7c6,
        near: 0x06202b,
        sun: (0.42, 0.36, 0.045),
        sun_colour: 0xffffff,
        stars: 0,
    },
    Mood {
        seed: 5,
        sky: &[0x05061a, 0x15143f, 0x3a2a6b, 0x7a4b92, 0xc77fa6],
        haze: 0x8a62a8,
        near: 0x07071a,
        sun: (0.98, 0.2, 0.04),
        sun_colour: 0xf6f1ff,
        stars: 900,
    },
];

/// How many ranges stand one behind the other.
const RANGES: usize = 8;

pub(super) fn paint(variant: usize) -> Canvas {
    let mood = &MOODS[variant % MOODS.len()];
    let skylines: Vec<Vec<f32>> = (0..RANGES).map(|range| skyline(mood.seed, range)).collect();
    let sky = Ramp::new(mood.sky);
    let (haze, near, sun_colour) = (rgb(mood.haze), rgb(mood.near), rgb(mood.sun_colour));
    let mut canvas = Canvas::shade(|x, y| {
        let column = (x * Canvas::HEIGHT as f32) as usize;
        match (0..RANGES).rev().find(|&range| y > skylines[range][column]) {
            None => sunlit(sky.at(y * 1.55), sun_colour, mood.sun, x, y),
            Some(range) => {
                let depth = (range as f32 + 0.4) / RANGES as f32;
                let rock = blend(haze, near, depth.powf(0.8));
                // Mist gathers below each skyline, and more of it in the far valleys.
                let fallen = (y - skylines[range][column]) / 0.22;
                let mist = blend(rock, haze, (fallen * (1.0 - depth) * 0.75).min(0.85));
                let warmth = (-((x - mood.sun.0) / 0.5).powi(2)).exp() * (1.0 - depth) * 0.16;
                plus(mist, scale(sun_colour, warmth))
            }
        }
    });
    if mood.stars > 0 {
        canvas.starfield(&mut Dice::new(u64::from(mood.seed)), mood.stars, 0.3);
    }
    canvas
}

/// The height of a range at each column; the nearest carries trees.
fn skyline(seed: u32, range: usize) -> Vec<f32> {
    let noise = Noise::new(seed * 31 + range as u32);
    let depth = range as f32 / (RANGES - 1) as f32;
    (0..Canvas::WIDTH)
        .map(|column| {
            let x = column as f32 / Canvas::HEIGHT as f32;
            let crest = noise.ridged(x * mix(2.2, 1.1, depth), range as f32 * 9.0, 6) - 0.5;
            let trees = noise.at(x * 130.0, 4.0).abs() * trees_max(depth) * (0.6 + noise.at(x * 17.0, 8.0));
            mix(0.44, 0.93, depth.powf(1.15)) - crest * mix(0.34, 0.22, depth) - trees
        })
        .collect()
}

/// How tall the trees on a range look.
fn trees_max(depth: f32) -> f32 {
    if depth > 0.8 { 0.035 * depth } else { 0.0 }
}

fn sunlit(sky: Colour, sun: Colour, (cx, cy, radius): (f32, f32, f32), x: f32, y: f32) -> Colour {
    let distance = ((x - cx).powi(2) + (y - cy).powi(2)).sqrt();
    let disc = step(radius * 1.04, radius * 0.97, distance);
    let halo = 0.5 * (-distance / (radius * 2.2)).exp() + 0.22 * (-distance / 0.45).exp();
    blend(plus(sky, scale(sun, halo)), scale(sun, 1.15), disc)
}
