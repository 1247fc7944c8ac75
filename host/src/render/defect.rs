//! What can be wrong with a rendered screw.
//!
//! A defect changes the surface (its radius at a place) or what the surface reflects; the renderer asks at each place.
//! Lengths are in units of the screw's length: `s` runs along the axis from the head's top (0) to the tip (1), `u` across.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::noise;

/// The kinds of defect, named as folders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum DefectKind {
    ManipulatedFront,
    Rust,
    ScratchHead,
    ScratchNeck,
    ThreadSide,
    ThreadTop,
}

impl DefectKind {
    /// All kinds, in the order of their names.
    pub const ALL: [Self; 6] =
        [Self::ManipulatedFront, Self::Rust, Self::ScratchHead, Self::ScratchNeck, Self::ThreadSide, Self::ThreadTop];

    /// Name of the kind's folder.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ManipulatedFront => "manipulated_front",
            Self::Rust => "rust",
            Self::ScratchHead => "scratch_head",
            Self::ScratchNeck => "scratch_neck",
            Self::ThreadSide => "thread_side",
            Self::ThreadTop => "thread_top",
        }
    }
}

/// A straight groove.
#[derive(Debug, Clone, Copy)]
struct Groove {
    from: (f32, f32),
    to: (f32, f32),
    width: f32,
    /// Change of the reflected light at its middle: bare metal shines, a dirty groove is dark.
    gain: f32,
}

/// One defect with everything that was drawn for it.
#[derive(Debug, Clone)]
pub struct Defect {
    kind: DefectKind,
    strength: f32,
    grooves: Vec<Groove>,
    /// Middle and half length along the axis of what is damaged.
    at: f32,
    half: f32,
    side: f32,
    style: f32,
    seed: u32,
}

impl Defect {
    /// Draws a defect; `strength` is about 1, larger is easier to see.
    pub fn draw(kind: DefectKind, strength: f32, rng: &mut ChaCha8Rng) -> Self {
        let mut range = |low: f32, high: f32| rng.random_range(low..high);
        let side = if range(0.0, 1.0) < 0.5 { -1.0 } else { 1.0 };
        let style = range(0.0, 1.0);
        let seed = range(0.0, 16_000_000.0) as u32;
        let mut grooves = Vec::new();
        let (at, half) = match kind {
            DefectKind::ScratchHead | DefectKind::ScratchNeck => {
                let head = kind == DefectKind::ScratchHead;
                let (middle, reach) = if head { (range(0.03, 0.08), 0.085) } else { (range(0.22, 0.38), 0.085) };
                let count = 2 + (range(0.0, 2.99) as usize);
                let angle = range(-0.9, 0.9) + if head { 1.2 } else { 0.6 };
                // Dark grooves hide in the head's own shade.
                let dark = range(0.0, 1.0) < if head { 0.12 } else { 0.35 };
                for i in 0..count {
                    let turn = angle + range(-0.35, 0.35);
                    let across = if head { range(-0.055, 0.055) } else { range(-0.02, 0.02) };
                    let centre = (middle + (i as f32 - 0.5) * range(0.01, 0.03), across);
                    let length = reach * range(0.5, 1.0);
                    let (ds, du) = (turn.cos() * length, turn.sin() * length);
                    grooves.push(Groove {
                        from: (centre.0 - ds / 2.0, centre.1 - du / 2.0),
                        to: (centre.0 + ds / 2.0, centre.1 + du / 2.0),
                        width: range(0.009, 0.015) * strength.sqrt(),
                        gain: strength * if dark { range(-0.65, -0.5) } else { range(0.55, 0.9) },
                    });
                }
                (middle, reach)
            }
            DefectKind::ThreadSide | DefectKind::ThreadTop => (range(0.53, 0.78), range(0.075, 0.12) * strength.sqrt()),
            DefectKind::ManipulatedFront => (range(0.84, 0.91), range(0.04, 0.075) * strength),
            DefectKind::Rust => (range(0.08, 0.85), range(0.08, 0.16) * strength.sqrt()),
        };
        Self { kind, strength, grooves, at, half, side, style, seed }
    }

    /// What kind it is.
    pub const fn kind(&self) -> DefectKind {
        self.kind
    }

    /// Weight in `[0, 1]` of the damaged stretch of the axis.
    fn along(&self, s: f32) -> f32 {
        let d = (s - self.at).abs() / self.half;
        ((1.0 - d) * 4.0).clamp(0.0, 1.0)
    }

    /// Where the surface at `(s, u)` would lie without the defect: a bent tip moves sideways.
    pub fn unbend(&self, s: f32, u: f32) -> (f32, f32) {
        if self.kind == DefectKind::ManipulatedFront && self.style < 0.5 && s > self.at - 0.06 {
            let d = s - (self.at - 0.06);
            (s, u - self.side * self.strength * (2.2 * d * d + 0.16 * d))
        } else {
            (s, u)
        }
    }

    /// Where the tip ends at `u`: 1 or more for a whole one.
    pub fn end(&self, u: f32) -> f32 {
        if self.kind == DefectKind::ManipulatedFront && self.style >= 0.5 {
            1.0 - self.half - 0.04 + self.side * u * 0.8 + 0.012 * (noise::value(u * 90.0, 0.0, self.seed) - 0.5)
        } else {
            2.0
        }
    }

    /// Factor of the thread's height at `(s, u)`; `across` is `u` in units of the crest's radius.
    pub fn thread(&self, s: f32, across: f32) -> f32 {
        let rough = 0.25 * noise::value(s * 60.0, across * 3.0, self.seed);
        match self.kind {
            DefectKind::ThreadSide => {
                let where_ = ((across * self.side - 0.05) * 4.0).clamp(0.0, 1.0);
                1.0 - self.along(s) * where_ * (1.0 - rough)
            }
            DefectKind::ThreadTop => {
                let where_ = ((0.62 - (across - 0.25 * self.side * self.style).abs()) * 6.0).clamp(0.0, 1.0);
                1.0 - self.along(s) * where_ * (1.0 - rough)
            }
            _ => 1.0,
        }
    }

    /// Factor of the diffuse light, of the highlight, and light added, at `(s, u)`.
    pub fn surface(&self, s: f32, u: f32) -> (f32, f32, f32) {
        match self.kind {
            DefectKind::ScratchHead | DefectKind::ScratchNeck => {
                let mut add = 0.0f32;
                for g in &self.grooves {
                    let (ds, du) = (g.to.0 - g.from.0, g.to.1 - g.from.1);
                    let t = (((s - g.from.0) * ds + (u - g.from.1) * du) / (ds * ds + du * du)).clamp(0.0, 1.0);
                    let d = (s - g.from.0 - t * ds).hypot(u - g.from.1 - t * du);
                    // A scratch is deepest in its middle and runs out towards its ends.
                    let depth = 1.0 - (2.0 * t - 1.0).powi(4);
                    let weight = (1.0 - d / g.width).clamp(0.0, 1.0).sqrt() * depth;
                    if (g.gain * weight).abs() > add.abs() {
                        add = g.gain * weight;
                    }
                }
                (1.0, 1.0, 0.55 * add)
            }
            DefectKind::ThreadTop => {
                // Worn crests are rubbed bright, with dirt between them.
                let where_ = ((0.045 - (u - 0.015 * self.side * self.style).abs()) * 60.0).clamp(0.0, 1.0);
                let rub = noise::value(s * 45.0, u * 25.0, self.seed) - 0.35;
                (1.0, 1.0, 0.32 * self.strength * self.along(s) * where_ * rub)
            }
            DefectKind::Rust => {
                let reach = (1.0 - ((s - self.at) / self.half).powi(2)).max(0.0);
                let patch = noise::fractal(s * 17.0, u * 17.0, self.seed) + 0.35 * reach - 0.12 * (1.0 - reach);
                let weight = ((patch - 0.55) * 9.0).clamp(0.0, 1.0) * reach.sqrt();
                let grain = noise::fractal(s * 80.0, u * 80.0, self.seed ^ 77) - 0.5;
                let tone = if self.style < 0.5 { -0.42 } else { 0.55 };
                (1.0 + weight * self.strength * (tone + 0.9 * grain), 1.0 - weight, 0.0)
            }
            _ => (1.0, 1.0, 0.0),
        }
    }
}
