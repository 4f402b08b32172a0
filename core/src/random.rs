//! The counter-based generator from which every random number comes, so that backends, threads and resumed runs agree.

use rayon::prelude::*;

/// A stream of random numbers that is a pure function of a seed, a purpose and a counter.
///
/// The stream is SplitMix64 over the FNV-1a hash of `seed/purpose`: the value at position `i` can be computed without
/// the values before it, and two purposes never share a stream.
#[derive(Clone, Debug)]
pub struct Stream {
    base: u64,
    position: u64,
}

impl Stream {
    /// The stream of `purpose` under `seed`, at its beginning.
    pub fn new(seed: u64, purpose: &str) -> Self {
        Self::keyed(&format!("{seed}/{purpose}"))
    }

    /// The stream whose key is the text itself.
    pub fn keyed(key: &str) -> Self {
        Self { base: fnv1a64(key.as_bytes()), position: 0 }
    }

    /// The next 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.position = self.position.wrapping_add(1);
        mix(self.base.wrapping_add(self.position.wrapping_mul(0x9E37_79B9_7F4A_7C15)))
    }

    /// Uniform in `[0, 1)`, 24 bits, so that it is exact in f32 too.
    pub fn uniform(&mut self) -> f64 {
        (self.next_u64() >> 40) as f64 / (1u64 << 24) as f64
    }

    /// Uniform in `[lo, hi)`.
    pub fn range(&mut self, lo: f64, hi: f64) -> f64 {
        lo + self.uniform() * (hi - lo)
    }

    /// Uniform in `0..n` without modulo bias; 0 if `n` is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(n)) >> 64) as u64
    }

    /// Standard normal (Box-Muller, the cosine branch).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// The next `n` of [`Self::normal`], on all threads.
    pub fn normals(&mut self, n: usize) -> Vec<f32> {
        let Self { base, position: first } = *self;
        // Each takes two numbers.
        let at = |i: usize| first.wrapping_add(2 * i as u64);
        self.position = at(n);
        let normal = |i| Self { base, position: at(i) }.normal() as f32;
        (0..n).into_par_iter().with_min_len(4096).map(normal).collect()
    }

    /// A uniformly random order of `0..n` (Fisher-Yates).
    pub fn permutation(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        for i in (1..n).rev() {
            order.swap(i, self.below(i as u64 + 1) as usize);
        }
        order
    }
}

/// 64-bit FNV-1a.
pub fn fnv1a64(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3))
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_published_worked_example() {
        let mut stream = Stream::keyed("golden-a/encoder.0.weight");
        assert_eq!(stream.base, 0x54FF_2804_4E16_C8CF);
        assert_eq!(stream.clone().next_u64(), 0xC64A_C62B_9366_65C1);
        assert_eq!(stream.uniform(), 0.774_578_452_110_290_5);
    }

    #[test]
    fn many_normal_numbers_are_those_that_come_one_after_the_other() {
        let mut stream = Stream::new(3, "noise");
        stream.uniform();
        let mut other = stream.clone();
        let expected: Vec<f32> = (0..10_001).map(|_| other.normal() as f32).collect();
        assert_eq!(stream.normals(10_001), expected);
        assert_eq!(stream.next_u64(), other.next_u64());
    }

    #[test]
    fn permutation_holds_every_index_once() {
        let mut order = Stream::new(1, "order").permutation(100);
        assert_ne!(order, (0..100).collect::<Vec<_>>());
        order.sort_unstable();
        assert_eq!(order, (0..100).collect::<Vec<_>>());
    }
}
