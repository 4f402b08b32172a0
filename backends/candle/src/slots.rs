//! Which values of a program share memory.

use mimus_core::Dtype;

/// A value that needs memory from one step to another, both included.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lifetime {
    pub(crate) dtype: Dtype,
    pub(crate) elements: usize,
    pub(crate) first: usize,
    pub(crate) last: usize,
}

impl Lifetime {
    fn meets(&self, other: &Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// Sizes, in elements, of the slots that a program needs, the largest first: so programs of a session share them well.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Slots {
    pub(crate) floats: Vec<usize>,
    pub(crate) ints: Vec<usize>,
}

/// Gives every value a slot among those of its type; no two values of a slot live at the same time.
///
/// The largest values choose first, each the smallest slot that is free in its time (Pisarchyk and Lee, "Efficient Memory
/// Management for Deep Neural Net Inference", 2020, greedy by size).
pub(crate) fn share(values: &[Lifetime]) -> (Vec<usize>, Slots) {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by_key(|i| std::cmp::Reverse(values[*i].elements));
    let mut slots = Slots::default();
    let mut tenants: [Vec<Vec<Lifetime>>; 2] = Default::default();
    let mut chosen = vec![0; values.len()];
    for i in order {
        let value = values[i];
        let (sizes, tenants) = match value.dtype {
            Dtype::F32 => (&mut slots.floats, &mut tenants[0]),
            Dtype::I64 => (&mut slots.ints, &mut tenants[1]),
        };
        let free = tenants.iter().rposition(|tenants| tenants.iter().all(|tenant| !tenant.meets(&value)));
        chosen[i] = free.unwrap_or(tenants.len());
        match free {
            Some(slot) => tenants[slot].push(value),
            None => {
                sizes.push(value.elements);
                tenants.push(vec![value]);
            }
        }
    }
    (chosen, slots)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_values_that_live_long_take_no_slot_of_large_ones() {
        let value = |elements, first, last| Lifetime { dtype: Dtype::F32, elements, first, last };
        // Two large values, one after the other; a small one is made between and read at the end.
        let (slots, sizes) = share(&[value(100, 0, 1), value(3, 2, 9), value(100, 3, 4), value(2, 0, 0)]);
        assert_eq!((slots, sizes.floats), (vec![0, 1, 0, 1], vec![100, 3]));
    }

    #[test]
    fn types_do_not_share() {
        let of = |dtype, first| Lifetime { dtype, elements: 4, first, last: first };
        let (slots, sizes) = share(&[of(Dtype::F32, 0), of(Dtype::I64, 1), of(Dtype::I64, 2)]);
        assert_eq!(slots, [0, 0, 0]);
        assert_eq!(sizes, Slots { floats: vec![4], ints: vec![4] });
    }
}
