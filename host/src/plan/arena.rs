//! Offsets in the arena: greedy placement (Pisarchyk and Lee 2020, "Efficient memory management for deep neural net
//! inference", section 5.2) in several orders, and a search for a better one.
//!
//! One tensor after the other goes to a gap between the tensors that live at the same time and were placed before. With
//! the largest first that is near the least there can be, and mostly some other order reaches it. Offsets are multiples
//! of 4, so that kernels may load words; nothing needs more.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::lifetime::Lifetime;
use super::over::Over;

/// Alignment of tensors in bytes.
pub const ALIGNMENT: usize = 4;

/// Where the tensors lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Offset of each tensor.
    pub offsets: Vec<usize>,
    /// Size of the arena.
    pub bytes: usize,
}

/// The most bytes alive at one time: no layout needs less. A tensor computed in place counts once, what may lie over another
/// only as far as it can't.
pub fn lower_bound(lifetimes: &[Lifetime]) -> usize {
    let groups = groups(lifetimes);
    let end = lifetimes.iter().map(|l| l.last).max().unwrap_or(0);
    (0..=end).map(|time| needed(&groups, time)).max().unwrap_or(0)
}

/// The bytes alive at a time, as in [`lower_bound`].
pub fn needed_at(lifetimes: &[Lifetime], time: usize) -> usize {
    needed(&groups(lifetimes), time)
}

fn needed(groups: &[Group], time: usize) -> usize {
    let alive = groups.iter().filter(|g| g.first <= time && time <= g.last);
    alive
        .map(|group| {
            let saved = match &group.over {
                Some(over) if group.first == time => {
                    let input = groups[over.input].bytes;
                    let below = group.bytes.max(over.below + input);
                    let above = input.max(over.above + group.bytes);
                    (input + group.bytes).saturating_sub(below.min(above))
                }
                _ => 0,
            };
            group.bytes - saved
        })
        .sum()
}

/// A run of tensors in the same memory.
struct Group {
    members: Vec<usize>,
    bytes: usize,
    first: usize,
    last: usize,
    over: Option<GroupOver>,
}

/// What a group may lie over when it begins, and how far apart they are then.
struct GroupOver {
    input: usize,
    below: usize,
    above: usize,
}

fn groups(lifetimes: &[Lifetime]) -> Vec<Group> {
    let mut group_of = vec![usize::MAX; lifetimes.len()];
    let mut order: Vec<usize> = (0..lifetimes.len()).collect();
    order.sort_by_key(|&tensor| lifetimes[tensor].first);
    let mut groups: Vec<Group> = Vec::new();
    for tensor in order {
        let l = lifetimes[tensor];
        if let Some(owner) = l.shares {
            let index = group_of[owner];
            groups[index].members.push(tensor);
            groups[index].last = groups[index].last.max(l.last);
            group_of[tensor] = index;
        } else {
            group_of[tensor] = groups.len();
            let bytes = l.bytes.next_multiple_of(ALIGNMENT);
            let over = l.over.map(|(input, Over { below, above })| GroupOver {
                input: group_of[input],
                below: below.next_multiple_of(ALIGNMENT).min(bytes),
                above: above.next_multiple_of(ALIGNMENT).min(groups[group_of[input]].bytes),
            });
            groups.push(Group { members: vec![tensor], bytes, first: l.first, last: l.last, over });
        }
    }
    groups
}

/// Places the tensors: in several orders, and where none of them needs as little as the lower bound, in orders that a
/// search finds from the best of them. The same tensors always get the same offsets.
pub fn lay_out(lifetimes: &[Lifetime]) -> Layout {
    lay_out_within(lifetimes, 0)
}

/// [`lay_out`] that searches no more when the arena has at most `enough` bytes.
pub fn lay_out_within(lifetimes: &[Lifetime], enough: usize) -> Layout {
    let groups = groups(lifetimes);
    let bound = lower_bound(lifetimes).max(enough);
    let place = |order: &[usize]| [Gap::Tightest, Gap::Lowest].map(|gap| place(&groups, order, gap));

    let sorted = |key: &dyn Fn(&Group) -> (std::cmp::Reverse<usize>, usize)| {
        let mut order: Vec<usize> = (0..groups.len()).collect();
        order.sort_by_key(|&index| key(&groups[index]));
        order
    };
    let duration = |g: &Group| g.last + 1 - g.first;
    let orders = [
        sorted(&|g| (std::cmp::Reverse(g.bytes), g.first)),
        sorted(&|g| (std::cmp::Reverse(g.bytes * duration(g)), g.first)),
        sorted(&|g| (std::cmp::Reverse(duration(g)), g.first)),
        sorted(&|g| (std::cmp::Reverse(0), g.first)),
    ];
    let mut best: Option<(Placement, &[usize])> = None;
    for order in &orders {
        for placement in place(order) {
            if best.as_ref().is_none_or(|(best, _)| placement.bytes < best.bytes) {
                best = Some((placement, order.as_slice()));
            }
        }
    }
    let (mut best, order) = best.expect("orders to try");

    // What lies on top goes earlier; an order that is no worse is kept.
    let mut order = order.to_vec();
    let mut random = ChaCha8Rng::seed_from_u64(0);
    let mut current = best.clone();
    for _ in 0..SEARCH_STEPS / (groups.len() * groups.len()).max(1) {
        if best.bytes <= bound {
            break;
        }
        let mut next = order.clone();
        let on_top = |&place: &usize| current.offsets[order[place]] + groups[order[place]].bytes == current.bytes;
        let top: Vec<usize> = (1..order.len()).filter(on_top).collect();
        let from = match top.get(random.random_range(0..top.len() + 1)) {
            Some(&place) => place,
            None => random.random_range(0..order.len()),
        };
        let moved = next.remove(from);
        next.insert(random.random_range(0..order.len()), moved);
        let [tight, low] = place(&next);
        let found = if low.bytes < tight.bytes { low } else { tight };
        if found.bytes <= current.bytes {
            if found.bytes < best.bytes {
                best = found.clone();
            }
            (current, order) = (found, next);
        }
    }

    let mut layout = Layout { offsets: vec![0; lifetimes.len()], bytes: best.bytes };
    for (group, offset) in groups.iter().zip(best.offsets) {
        group.members.iter().for_each(|&member| layout.offsets[member] = offset);
    }
    layout
}

/// Pairs of groups that the search compares, about: a fraction of a second.
const SEARCH_STEPS: usize = 10_000_000;

/// Which of the gaps between tensors that are alive at the same time.
#[derive(Debug, Clone, Copy)]
enum Gap {
    /// The smallest that suffices.
    Tightest,
    /// The first that suffices.
    Lowest,
}

/// Offsets of the groups.
#[derive(Debug, Clone)]
struct Placement {
    offsets: Vec<usize>,
    bytes: usize,
}

/// From the offset of one group to that of another that is alive at the same time and begins behind it, at least.
fn apart(groups: &[Group], lower: usize, upper: usize) -> usize {
    match (&groups[lower].over, &groups[upper].over) {
        (Some(over), _) if over.input == upper => over.below,
        (_, Some(over)) if over.input == lower => over.above,
        _ => groups[lower].bytes,
    }
}

/// Places the groups one after the other, in `order`.
fn place(groups: &[Group], order: &[usize], gap: Gap) -> Placement {
    let mut placement = Placement { offsets: vec![0; groups.len()], bytes: 0 };
    for (count, &index) in order.iter().enumerate() {
        let group = &groups[index];
        // Where it can't begin, because of those that were placed.
        let mut taken: Vec<(usize, usize)> = order[..count]
            .iter()
            .filter(|&&other| groups[other].first <= group.last && group.first <= groups[other].last)
            .map(|&other| {
                let at = placement.offsets[other];
                ((at + 1).saturating_sub(apart(groups, index, other)), at + apart(groups, other, index))
            })
            .collect();
        taken.sort_unstable();
        let (mut end, mut best) = (0, None::<(usize, usize)>);
        for (from, to) in taken {
            if from > end && best.is_none_or(|(gap, _)| from - end < gap) {
                best = Some((from - end, end));
                if matches!(gap, Gap::Lowest) {
                    break;
                }
            }
            end = end.max(to);
        }
        let offset = best.map_or(end, |(_, offset)| offset);
        placement.offsets[index] = offset;
        placement.bytes = placement.bytes.max(offset + group.bytes);
    }
    placement
}

#[cfg(test)]
mod tests {
    use super::super::lifetime::{Use, lifetimes};
    use super::*;

    #[test]
    fn a_chain_needs_its_two_largest_neighbours() {
        let uses: Vec<Use> =
            (0..3).map(|t| Use { inputs: vec![t], output: t + 1, in_place: false, over: None }).collect();
        let alive = lifetimes(&[16, 64, 32, 8], &uses, 0, 3, false);
        let layout = lay_out(&alive);
        assert_eq!((layout.bytes, lower_bound(&alive)), (96, 96));
        // Kept to the end, the input adds its 16 bytes.
        assert_eq!(lay_out(&lifetimes(&[16, 64, 32, 8], &uses, 0, 3, true)).bytes, 112);
    }

    #[test]
    fn an_elementwise_operator_needs_no_memory() {
        let uses = [Use { inputs: vec![0], output: 1, in_place: true, over: None }];
        assert_eq!(lay_out(&lifetimes(&[64, 64], &uses, 0, 1, false)).bytes, 64);
        assert_eq!(lay_out(&lifetimes(&[64, 64], &uses, 0, 1, true)).bytes, 128);
    }

    #[test]
    fn largest_first_is_not_the_last_word() {
        // Input, then the sizes of MobileNet's first layers in units of their common divisor: largest first, the output of
        // the strided layer lies between what the layers before and after it leave free.
        let sizes: Vec<usize> = [12, 8, 8, 16, 4, 8, 8, 8, 2, 4, 4, 4, 1].iter().map(|size| size * 2304).collect();
        let uses: Vec<Use> =
            (0..sizes.len() - 1).map(|t| Use { inputs: vec![t], output: t + 1, in_place: false, over: None }).collect();
        let alive = lifetimes(&sizes, &uses, 0, sizes.len() - 1, false);
        let layout = lay_out(&alive);
        assert_eq!((layout.bytes, lower_bound(&alive)), (55_296, 55_296));
        assert_eq!(lay_out(&alive), layout);
    }

    #[test]
    fn no_two_live_tensors_overlap() {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        for _ in 0..500 {
            let count = random.random_range(2..20_usize);
            let sizes: Vec<usize> = (0..count).map(|_| random.random_range(1..6_usize) * 37).collect();
            let uses: Vec<Use> = (1..count)
                .map(|output| Use {
                    inputs: (0..random.random_range(1..3_usize)).map(|_| random.random_range(0..output)).collect(),
                    output,
                    in_place: random.random(),
                    over: None,
                })
                .collect();
            let alive = lifetimes(&sizes, &uses, 0, count - 1, random.random());
            let layout = lay_out(&alive);
            assert!(layout.bytes >= lower_bound(&alive));
            for a in 0..count {
                assert!(layout.offsets[a] + sizes[a] <= layout.bytes && layout.offsets[a].is_multiple_of(ALIGNMENT));
                for b in 0..a {
                    let (x, y) = (alive[a], alive[b]);
                    let together = x.first <= y.last && y.first <= x.last;
                    let over = layout.offsets[a] < layout.offsets[b] + sizes[b]
                        && layout.offsets[b] < layout.offsets[a] + sizes[a];
                    let handed_over =
                        x.shares == Some(b) && y.last == x.first && layout.offsets[a] == layout.offsets[b];
                    assert!(!(together && over) || handed_over, "{a} {b}: {x:?} {y:?}");
                }
            }
        }
    }
}
