//! The interpreter.

use core::marker::PhantomData;

use neji_format::{Element, Model, Operators, Packing};

use crate::error::RunError;
use crate::isa::Isa;
use crate::{arena, features, ops};

/// Runs a model; `I` chooses the instruction set.
#[derive(Debug, Clone, Copy)]
pub struct Engine<'a, I: Isa> {
    model: Model<'a>,
    refused: Result<(), RunError>,
    isa: PhantomData<I>,
}

impl<'a, I: Isa> Engine<'a, I> {
    /// An engine for a model that was parsed. What it can't run it says in [`Engine::check`].
    pub fn new(model: Model<'a>) -> Self {
        Self { model, refused: Self::accept(&model), isa: PhantomData }
    }

    /// Whether everything that the model needs is linked; if not, [`Engine::run`] never runs it.
    ///
    /// # Errors
    /// [`RunError::Int8Only`], [`RunError::Packed`] or [`RunError::NotLinked`].
    pub const fn check(&self) -> Result<(), RunError> {
        self.refused
    }

    fn accept(model: &Model<'_>) -> Result<(), RunError> {
        if model.plan().element == Element::I16 && !Self::INT16 {
            return Err(RunError::Int8Only);
        }
        if !I::PAIRS
            && let Some((operator, _)) =
                (0..).zip(model.operators()).find(|(_, operator)| operator.packing() == Packing::Pairs)
        {
            return Err(RunError::Packed { operator });
        }
        if features::ALL {
            return Ok(());
        }
        let mut operators = (0..).zip(model.operators());
        match operators.find(|(_, operator)| !features::has(operator)) {
            Some((index, operator)) => Err(RunError::NotLinked { operator: index, feature: features::of(&operator) }),
            None => Ok(()),
        }
    }

    /// Whether int16 is linked.
    const INT16: bool = I::INT16 && cfg!(feature = "int16");

    /// The model.
    pub const fn model(&self) -> &Model<'a> {
        &self.model
    }

    /// Runs every operator once: from what lies in [`Engine::input_mut`] to [`Engine::output`].
    ///
    /// The arena may be longer than [`Model::arena_bytes`]; the rest is not touched. It needs no alignment for int8
    /// activations, for int16 an even address. Afterwards the input is overwritten unless the plan keeps it.
    ///
    /// # Errors
    /// A [`RunError`], before anything is written.
    // A function of its own in every image, so that what it takes of the stack can be read there.
    #[inline(never)]
    pub fn run(&self, arena: &mut [i8]) -> Result<(), RunError> {
        self.run_operators(self.model.operators(), arena)
    }

    /// Runs the operators of a streaming model's run `run`, counted from 0; otherwise as [`Engine::run`].
    ///
    /// # Errors
    /// As [`Engine::run`].
    pub fn run_phase(&self, run: u32, arena: &mut [i8]) -> Result<(), RunError> {
        self.run_operators(self.model.phase_operators(run), arena)
    }

    #[inline(never)]
    fn run_operators(&self, operators: Operators<'a>, arena: &mut [i8]) -> Result<(), RunError> {
        self.refused?;
        let needed = self.model.arena_bytes();
        let given = arena.len();
        let arena = arena.get_mut(..needed).ok_or(RunError::ArenaTooSmall { needed, given })?;
        match self.model.plan().element {
            Element::I8 => {
                for operator in operators {
                    ops::run_i8::<I>(&self.model, &operator, arena);
                }
            }
            Element::I16 if Self::INT16 => {
                let arena = bytemuck::try_cast_slice_mut(arena).map_err(|_| RunError::ArenaMisaligned)?;
                for operator in operators {
                    ops::run_i16::<I>(&self.model, &operator, arena);
                }
            }
            Element::I16 => return Err(RunError::Int8Only),
        }
        Ok(())
    }

    /// The bytes of the model's input, row-major NHWC: int8, or little-endian int16. Empty for an arena that is too small.
    pub fn input<'m>(&self, arena: &'m [i8]) -> &'m [i8] {
        let plan = self.model.plan();
        arena.get(arena::bytes(plan.element, &plan.input)).unwrap_or(&[])
    }

    /// The bytes of the model's input, to be filled before [`Engine::run`]; empty for an arena that is too small.
    pub fn input_mut<'m>(&self, arena: &'m mut [i8]) -> &'m mut [i8] {
        let plan = self.model.plan();
        arena.get_mut(arena::bytes(plan.element, &plan.input)).unwrap_or(&mut [])
    }

    /// The bytes of the model's output; empty for an arena that is too small.
    pub fn output<'m>(&self, arena: &'m [i8]) -> &'m [i8] {
        let plan = self.model.plan();
        arena.get(arena::bytes(plan.element, &plan.output)).unwrap_or(&[])
    }
}
