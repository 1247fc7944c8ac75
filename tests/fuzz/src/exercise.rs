//! A model put through everything that a device does with it.

use neji_app::frontend::image;
use neji_app::{Monitor, Outcome, Verdict};
use neji_engine::{Engine, Portable};
use neji_format::{Element, FrontEnd, Model, Operator, Shape, Window};

/// Most memory that a model may ask for here.
const MEMORY_BYTES_MAX: usize = 1 << 17;
/// Most steps that one run may take here, about.
const WORK_MAX: u64 = 1 << 20;
/// Bytes of sound that a monitor is given.
const SOUND_BYTES: usize = 6000;
/// Bytes on both sides of each memory that nothing may write to, and as few more as badly align it for its elements.
const GUARD_BYTES: usize = 16;
/// Bytes of an arena behind those that the model asks for.
const SPARE_BYTES: usize = 5;
const GUARD: u8 = 0xa5;

/// Runs a model that is small enough to be quick, on its own and behind its front end; `data` is what it is run on.
///
/// # Panics
/// Whenever something else happens than what [`Model::parse`] promises.
pub fn exercise(model: Model<'_>, data: &[u8]) {
    if Monitor::<Portable>::memory_bytes(&model) > MEMORY_BYTES_MAX || work(&model) > WORK_MAX {
        return;
    }
    let first = infer(model, data, 0);
    assert_eq!(first, infer(model, data, 0), "the same input gives another output");
    assert_eq!(first, infer(model, data, 0x3c), "the output depends on what lay in the arena");
    let whole = watch(model, data, 0, usize::MAX);
    assert_eq!(whole, watch(model, data, 0xff, 7), "verdicts depend on the cut of the stream or on what lay in memory");
}

/// Has a monitor of a model that is small enough live by `life`.
///
/// # Panics
/// As [`live`](crate::live).
pub fn learn(model: Model<'_>, life: &[u8]) {
    // A hundred frames, and scores that take as many steps as there are vectors.
    if work(&model) <= WORK_MAX >> 7 && model.constants().len() < 1 << 12 {
        crate::live(model, life);
    }
}

/// Rough number of steps of a run.
fn work(model: &Model<'_>) -> u64 {
    let len = |shape: Shape| shape.len() as u64;
    let kernel = |window: &Window| u64::from(window.kernel_height) * u64::from(window.kernel_width);
    let each = model.operators().map(|operator| {
        let output = len(operator.output().shape);
        let inner = match &operator {
            Operator::Conv2d(op) => kernel(&op.window).saturating_mul(op.input.shape.channels.into()),
            Operator::DepthwiseConv2d(op) => kernel(&op.window),
            Operator::TransposeConv2d(op) => kernel(&op.window).saturating_mul(op.input.shape.channels.into()),
            Operator::FullyConnected(op) => len(op.input.shape),
            Operator::Pool2d(op) => kernel(&op.window),
            _ => 1,
        };
        let inputs: u64 = operator.inputs().map(|input| len(input.shape)).sum();
        output.saturating_mul(inner).saturating_add(inputs)
    });
    each.fold(0, u64::saturating_add)
}

/// `bytes` of memory full of `content`, between guards.
struct Guarded {
    /// Words, so that it is known where the first begins.
    memory: Vec<u32>,
    first: usize,
    bytes: usize,
}

impl Guarded {
    fn new(element: Element, bytes: usize, content: u8) -> Self {
        let first = GUARD_BYTES + element.bytes();
        let memory = vec![u32::from_ne_bytes([GUARD; 4]); (bytes + 2 * first).div_ceil(4)];
        let mut guarded = Self { memory, first, bytes };
        guarded.inner().fill(content);
        guarded
    }

    /// The memory between the guards.
    fn inner(&mut self) -> &mut [u8] {
        &mut bytemuck::cast_slice_mut(&mut self.memory)[self.first..self.first + self.bytes]
    }

    fn check(&self) {
        let (before, rest) = bytemuck::cast_slice::<u32, u8>(&self.memory).split_at(self.first);
        let whole = before.iter().chain(&rest[self.bytes..]).all(|&byte| byte == GUARD);
        assert!(whole, "a write outside of the memory given");
    }
}

/// `data` again and again; zeros where there is none.
fn endless(data: &[u8]) -> impl Iterator<Item = u8> {
    data.iter().copied().cycle().chain(std::iter::repeat(0))
}

/// The output for an input drawn from `data`.
fn infer(model: Model<'_>, data: &[u8], content: u8) -> Vec<i8> {
    let engine = Engine::<Portable>::new(model);
    let mut memory = Guarded::new(model.plan().element, model.arena_bytes() + SPARE_BYTES, content);
    let arena: &mut [i8] = bytemuck::cast_slice_mut(memory.inner());
    engine.input_mut(arena).iter_mut().zip(endless(data)).for_each(|(to, from)| *to = from.cast_signed());
    engine.run(arena).expect("an arena of the length that the model asks for");
    let output = engine.output(arena).to_vec();
    let spare = &arena[model.arena_bytes()..];
    assert!(spare.iter().all(|&byte| byte.cast_unsigned() == content), "a write behind the arena");
    memory.check();
    output
}

/// What a monitor says of sound drawn from `data`, which comes in pieces of `piece` bytes, and its last map.
fn listen(model: Model<'_>, data: &[u8], content: u8, piece: usize) -> (Vec<Verdict>, Option<Vec<u32>>) {
    let mut memory = Guarded::new(Element::I8, Monitor::<Portable>::memory_bytes(&model), content);
    let (mut verdicts, mut map) = (Vec::new(), None);
    if let Ok(mut monitor) = Monitor::<Portable>::new(model, memory.inner()) {
        let samples: Vec<u8> = endless(data).take(SOUND_BYTES).collect();
        for mut samples in samples.chunks(piece.min(SOUND_BYTES)) {
            while let Some(verdict) = monitor.push(&mut samples) {
                verdicts.push(verdict);
            }
            assert!(samples.is_empty(), "samples are left over");
        }
        map = monitor.map().map(|(map, _)| map.to_vec());
        verdicts.push(monitor.gap());
        assert_eq!(monitor.end_of_frame(), None);
        let mut numbers = (0..).zip(&verdicts);
        assert!(numbers.all(|(number, verdict)| verdict.sequence == number));
    }
    memory.check();
    (verdicts, map)
}

/// What a monitor says of some frames drawn from `data`, which come in pieces of `piece` bytes, and its last map.
fn watch(model: Model<'_>, data: &[u8], content: u8, piece: usize) -> (Vec<Verdict>, Option<Vec<u32>>) {
    let frame = match &model.plan().front_end {
        FrontEnd::Raw => model.plan().element.bytes_of(&model.plan().input),
        FrontEnd::Image(config) => image::frame_bytes(config),
        FrontEnd::LogMel(_) => return listen(model, data, content, piece),
    };
    let mut memory = Guarded::new(Element::I8, Monitor::<Portable>::memory_bytes(&model), content);
    let mut verdicts = Vec::new();
    let mut map = None;
    // A strip may be large where the frame is small, and the other way round.
    if frame <= MEMORY_BYTES_MAX
        && let Ok(mut monitor) = Monitor::<Portable>::new(model, memory.inner())
    {
        // Two whole frames, then half of one.
        let samples: Vec<u8> = endless(data).take(frame * 5 / 2).collect();
        for mut samples in samples.chunks(piece.min(frame)) {
            while let Some(verdict) = monitor.push(&mut samples) {
                verdicts.push(verdict);
            }
            assert!(samples.is_empty(), "samples are left over");
        }
        verdicts.extend(monitor.end_of_frame());
        assert_eq!(monitor.end_of_frame(), None);
        map = monitor.map().map(|(map, size)| {
            assert_eq!(map.len(), usize::from(size.width) * usize::from(size.height));
            map.to_vec()
        });
        let expected = if frame < 2 { 2 } else { 3 };
        assert_eq!(verdicts.len(), expected, "{frame} samples a frame");
        let mut numbers = (0..).zip(&verdicts);
        assert!(numbers.all(|(number, verdict)| verdict.sequence == number));
        assert!(verdicts.iter().skip(2).all(|verdict| matches!(verdict.outcome, Outcome::SensorFault(_))));
    }
    memory.check();
    (verdicts, map)
}
