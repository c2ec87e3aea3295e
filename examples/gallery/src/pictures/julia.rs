//! Julia sets, coloured by how slowly each point escapes and how close it came to the axes on the way.

use super::canvas::{Canvas, Ramp, plus, scale};

struct Mood {
    c: (f32, f32),
    view: (f32, f32, f32),
    turn: f32,
    colours: &'static [u32],
    trap: [f32; 3],
}

const MOODS: [Mood; 3] = [
    Mood {
        c: (-0.75, 0.11),
        view: (0.0, 0.0, 1.9),
        turn: 0.5,
        colours: &[0x030818, 0x0b2a5b, 0x1f7a9c, 0xf2e6b8, 0xf08a4b, 0x7a1f3d, 0x0a0618],
        trap: [0.5, 0.42, 0.3],
    },
    Mood {
        c: (-0.8, 0.156),
        view: (0.18, 0.05, 1.1),
        turn: -0.35,
        colours: &[0x0d0320, 0x3d0f5c, 0x9c2f8f, 0xff7f9e, 0xffe0c0, 0x5fc7d6, 0x0a1f3d],
        trap: [0.35, 0.3, 0.55],
    },
    Mood {
        c: (0.285, 0.012),
        view: (0.12, 0.22, 1.2),
        turn: 1.1,
        colours: &[0x02110f, 0x0a3d35, 0x2fa36b, 0xe8f28a, 0xffb84d, 0xb8331f, 0x1a0508],
        trap: [0.5, 0.5, 0.25],
    },
];

/// Points that have not escaped after so many rounds are taken to stay.
const ROUNDS_MAX: u32 = 90;
/// The last colour of the ramp is reached here.
const ROUNDS_SHADED: f32 = 130.0;
/// Far enough out for a smooth count of rounds.
const ESCAPE: f32 = 32.0;

pub(super) fn paint(variant: usize) -> Canvas {
    let mood = &MOODS[variant % MOODS.len()];
    let colours = Ramp::new(mood.colours);
    let (sin, cos) = mood.turn.sin_cos();
    Canvas::shade(|x, y| {
        let (px, py) = ((x - Canvas::ASPECT / 2.0) * mood.view.2, (y - 0.5) * mood.view.2);
        let (mut re, mut im) = (mood.view.0 + px * cos - py * sin, mood.view.1 + px * sin + py * cos);
        let (mut rounds, mut nearest) = (0, f32::MAX);
        let mut squared = re * re + im * im;
        while rounds < ROUNDS_MAX && squared < ESCAPE {
            (re, im) = (re * re - im * im + mood.c.0, 2.0 * re * im + mood.c.1);
            squared = re * re + im * im;
            nearest = nearest.min(re.abs().min(im.abs()));
            rounds += 1;
        }
        let gleam = scale(mood.trap, (-nearest * 22.0).exp());
        if rounds == ROUNDS_MAX {
            return plus(scale(colours.at(0.02 + squared * 0.2), 0.8), gleam);
        }
        let smooth = rounds as f32 + 1.0 - (squared.ln() * 0.5).log2();
        plus(colours.at((smooth.max(0.0) / ROUNDS_SHADED).sqrt()), scale(gleam, 0.8))
    })
}
