//! The interpreter.

use core::marker::PhantomData;

use neji_format::Model;

use crate::error::ArenaTooSmall;
use crate::isa::Isa;
use crate::{arena, ops};

/// Runs a model; `I` chooses the instruction set.
#[derive(Debug, Clone, Copy)]
pub struct Engine<'a, I: Isa> {
    model: Model<'a>,
    isa: PhantomData<I>,
}

impl<'a, I: Isa> Engine<'a, I> {
    /// An engine for a model that was parsed.
    pub const fn new(model: Model<'a>) -> Self {
        Self { model, isa: PhantomData }
    }

    /// The model.
    pub const fn model(&self) -> &Model<'a> {
        &self.model
    }

    /// Runs every operator once: from what lies in [`Engine::input_mut`] to [`Engine::output`].
    ///
    /// The arena needs no alignment and may be longer than [`Model::arena_bytes`]; the rest is not touched. Afterwards
    /// the input is overwritten unless the plan keeps it.
    ///
    /// # Errors
    /// [`ArenaTooSmall`], before anything is written.
    // A function of its own in every image, so that what it takes of the stack can be read there.
    #[inline(never)]
    pub fn run(&self, arena: &mut [i8]) -> Result<(), ArenaTooSmall> {
        let needed = self.model.arena_bytes();
        let given = arena.len();
        let arena = arena.get_mut(..needed).ok_or(ArenaTooSmall { needed, given })?;
        for operator in self.model.operators() {
            ops::run::<I>(&self.model, &operator, arena);
        }
        Ok(())
    }

    /// The model's input, row-major NHWC; empty for an arena that is too small.
    pub fn input<'m>(&self, arena: &'m [i8]) -> &'m [i8] {
        arena::read(arena, &self.model.plan().input)
    }

    /// The model's input, to be filled before [`Engine::run`]; empty for an arena that is too small.
    pub fn input_mut<'m>(&self, arena: &'m mut [i8]) -> &'m mut [i8] {
        arena::in_place(arena, &self.model.plan().input)
    }

    /// The model's output; empty for an arena that is too small.
    pub fn output<'m>(&self, arena: &'m [i8]) -> &'m [i8] {
        arena::read(arena, &self.model.plan().output)
    }
}
