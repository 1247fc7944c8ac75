//! Offsets in the arena: greedy best fit by size (Pisarchyk and Lee 2020, "Efficient memory management for deep neural
//! net inference", section 5.2).
//!
//! The largest tensor first, each goes to the smallest gap between the tensors that live at the same time and were placed
//! before. Offsets are multiples of 4, so that kernels may load words; nothing needs more.

use super::lifetime::Lifetime;

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

/// The most bytes alive at one time: no layout needs less. A tensor computed in place counts once.
pub fn lower_bound(lifetimes: &[Lifetime]) -> usize {
    let groups = groups(lifetimes);
    let end = lifetimes.iter().map(|l| l.last).max().unwrap_or(0);
    (0..=end).map(|t| groups.iter().filter(|g| g.first <= t && t <= g.last).map(|g| g.bytes).sum()).max().unwrap_or(0)
}

/// A run of tensors in the same memory.
struct Group {
    members: Vec<usize>,
    bytes: usize,
    first: usize,
    last: usize,
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
            groups.push(Group { members: vec![tensor], bytes, first: l.first, last: l.last });
        }
    }
    groups
}

/// Places the tensors.
pub fn lay_out(lifetimes: &[Lifetime]) -> Layout {
    let mut groups = groups(lifetimes);
    groups.sort_by_key(|g| (std::cmp::Reverse(g.bytes), g.first, g.members[0]));
    let mut placed: Vec<(usize, usize)> = Vec::new(); // (group, offset)
    let mut layout = Layout { offsets: vec![0; lifetimes.len()], bytes: 0 };
    for (index, group) in groups.iter().enumerate() {
        let mut busy: Vec<(usize, usize)> = placed
            .iter()
            .map(|&(other, offset)| (&groups[other], offset))
            .filter(|(other, _)| other.first <= group.last && group.first <= other.last)
            .map(|(other, offset)| (offset, offset + other.bytes))
            .collect();
        busy.sort_unstable();
        let (mut end, mut best) = (0, None::<(usize, usize)>);
        for (from, to) in busy {
            if from >= end + group.bytes && best.is_none_or(|(gap, _)| from - end < gap) {
                best = Some((from - end, end));
            }
            end = end.max(to);
        }
        let offset = best.map_or(end, |(_, offset)| offset);
        placed.push((index, offset));
        layout.bytes = layout.bytes.max(offset + group.bytes);
        group.members.iter().for_each(|&member| layout.offsets[member] = offset);
    }
    layout
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::super::lifetime::{Use, lifetimes};
    use super::*;

    #[test]
    fn a_chain_needs_its_two_largest_neighbours() {
        let uses: Vec<Use> = (0..3).map(|t| Use { inputs: vec![t], output: t + 1, in_place: false }).collect();
        let alive = lifetimes(&[16, 64, 32, 8], &uses, 0, 3, false);
        let layout = lay_out(&alive);
        assert_eq!((layout.bytes, lower_bound(&alive)), (96, 96));
        // Kept to the end, the input adds its 16 bytes.
        assert_eq!(lay_out(&lifetimes(&[16, 64, 32, 8], &uses, 0, 3, true)).bytes, 112);
    }

    #[test]
    fn an_elementwise_operator_needs_no_memory() {
        let uses = [Use { inputs: vec![0], output: 1, in_place: true }];
        assert_eq!(lay_out(&lifetimes(&[64, 64], &uses, 0, 1, false)).bytes, 64);
        assert_eq!(lay_out(&lifetimes(&[64, 64], &uses, 0, 1, true)).bytes, 128);
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
