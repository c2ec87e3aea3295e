//! The sun over open water, with clouds that stretch along the horizon.

use super::canvas::{Canvas, Ramp, blend, plus, rgb, scale};
use super::noise::{Dice, Field, Noise, step};

struct Mood {
    seed: u32,
    sky: &'static [u32],
    cloud: (u32, u32),
    sun: (f32, f32, f32),
    sun_colour: u32,
    water: u32,
    horizon: f32,
    stars: usize,
}

const MOODS: [Mood; 3] = [
    Mood {
        seed: 9,
        sky: &[0x1b2a5e, 0x5a4a8c, 0xc7627a, 0xff9a5c, 0xffd27a],
        cloud: (0x4a2c5e, 0xffb38a),
        sun: (0.6, 0.5, 0.06),
        sun_colour: 0xfff2c0,
        water: 0x1c1a44,
        horizon: 0.56,
        stars: 0,
    },
    Mood {
        seed: 31,
        sky: &[0x030a1c, 0x0a1f3d, 0x173a5e, 0x2f6482, 0x6fa3b0],
        cloud: (0x0b1a2e, 0x9cc3d0),
        sun: (0.9, 0.24, 0.05),
        sun_colour: 0xf3f6ff,
        water: 0x04121f,
        horizon: 0.62,
        stars: 700,
    },
    Mood {
        seed: 52,
        sky: &[0x2f7fb8, 0x6bb3cf, 0xb5dcd6, 0xf5e8c8, 0xffdca8],
        cloud: (0xa7bccb, 0xfffaf0),
        sun: (0.36, 0.4, 0.042),
        sun_colour: 0xffffff,
        water: 0x0f4a66,
        horizon: 0.5,
        stars: 0,
    },
];

pub(super) fn paint(variant: usize) -> Canvas {
    let mood = &MOODS[variant % MOODS.len()];
    let sky = Ramp::new(mood.sky);
    let (dark, bright, sun) = (rgb(mood.cloud.0), rgb(mood.cloud.1), rgb(mood.sun_colour));
    let noise = Noise::new(mood.seed);
    let clouds = Field::sample(534, 400, |u, v| {
        let (x, y) = (u * Canvas::ASPECT, v * mood.horizon);
        // Towards the horizon clouds lie flatter and closer together.
        let near = 0.16 + (mood.horizon - y) * 1.3;
        noise.sum(x * 1.5 / near + 3.0, y * 5.5 / near, 5)
    });
    let mut canvas = Canvas::shade(|x, y| {
        if y > mood.horizon {
            return [0.0; 3];
        }
        let distance = ((x - mood.sun.0).powi(2) + (y - mood.sun.1).powi(2)).sqrt();
        let disc = step(mood.sun.2 * 1.05, mood.sun.2 * 0.96, distance);
        let halo = 0.45 * (-distance / (mood.sun.2 * 2.5)).exp() + 0.25 * (-distance / 0.4).exp();
        let open = blend(plus(sky.at(y / mood.horizon), scale(sun, halo)), scale(sun, 1.2), disc);
        let thick = clouds.at(x / Canvas::ASPECT, y / mood.horizon);
        let cover = step(-0.02, 0.34, thick) * 0.86;
        let lining = (-distance / 0.33).exp() * step(0.42, 0.02, thick);
        let cloud = blend(blend(bright, dark, step(0.05, 0.42, thick)), sun, lining * 0.7);
        blend(open, cloud, cover * (1.0 - disc * 0.75))
    });
    if mood.stars > 0 {
        canvas.starfield(&mut Dice::new(u64::from(mood.seed)), mood.stars, mood.horizon * 0.8);
    }
    canvas.mirror(mood.horizon, rgb(mood.water), Noise::new(mood.seed + 1));
    canvas
}
