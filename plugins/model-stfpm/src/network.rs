//! Teacher and student, their loss and their map.

use mimus_core::blocks::resnet::Resnet;
use mimus_core::blocks::{loss, memory, smooth};
use mimus_core::ops::Mode;
use mimus_core::{Builder, Graph, Phase, Result, ValueId, ValueType};

/// Stages that are compared: `layer1` to `layer3`.
const LEVELS: usize = 3;

pub(super) struct Network {
    pub(super) backbone: Resnet,
    /// N, 3, H, W.
    pub(super) input: [usize; 4],
    pub(super) mean_of_levels: bool,
    pub(super) mean_of_batch: bool,
    /// Whether the map is the product of the levels' maps.
    pub(super) product: bool,
    /// Of the map, in pixels.
    pub(super) smoothing: f64,
}

/// The tap at the student's features of a level.
pub(super) fn tap(level: usize) -> String {
    format!("student.layer{level}")
}

impl Network {
    /// The loss of every level: half the squared distance of the features, each of length 1 over channels, averaged over positions.
    pub(super) fn train(&self) -> Result<Graph> {
        let mut b = Builder::new("stfpm");
        let mut total = b.scalar(0.0)?;
        for (level, map) in (1..).zip(self.distances(&mut b, Phase::Train)?) {
            let by_sample = loss::mean_by_sample(&mut b, map)?;
            let own = if self.mean_of_batch { b.mean(by_sample, &[0])? } else { b.sum(by_sample, &[0])? };
            b.output(&format!("loss.layer{level}"), own)?;
            total = b.add(total, own)?;
        }
        let total = b.affine(total, if self.mean_of_levels { 1.0 / LEVELS as f64 } else { 1.0 }, 0.0)?;
        b.output("loss", total)?;
        Ok(b.finish())
    }

    pub(super) fn eval(&self) -> Result<Graph> {
        let mut b = Builder::new("stfpm");
        let [_, _, height, width] = self.input;
        let mut maps = Vec::new();
        for map in self.distances(&mut b, Phase::Eval)? {
            let positions = b.shape(map)[2] * b.shape(map)[3];
            let map = b.resize(map, &[height, width], Mode::Linear, false)?;
            maps.push(if self.product { map } else { b.affine(map, 1.0 / positions as f64, 0.0)? });
        }
        let first = b.scalar(if self.product { 1.0 } else { 0.0 })?;
        let map = maps.into_iter().try_fold(first, |joined, map| match self.product {
            true => b.mul(joined, map),
            false => b.add(joined, map),
        })?;
        let map = smooth::gaussian(&mut b, map, self.smoothing)?;
        b.output("score_map", map)?;
        Ok(b.finish())
    }

    /// Half the squared distance of teacher and student at every position of each level, `[N, 1, H', W']`. The teacher is frozen: in
    /// evaluation mode, and no gradient reaches it.
    fn distances(&self, b: &mut Builder, phase: Phase) -> Result<Vec<ValueId>> {
        let x = b.input("x", ValueType::f32(self.input))?;
        let teacher = b.scope("teacher", |b| self.backbone.features(b, x, LEVELS, Phase::Eval))?;
        let student = b.scope("student", |b| self.backbone.features(b, x, LEVELS, phase))?;
        let mut maps = Vec::new();
        for (level, (teacher, student)) in (1..).zip(teacher.into_iter().zip(student)) {
            b.tap(&tap(level), student)?;
            let teacher = b.stop_gradient(teacher)?;
            let [teacher, student] = [memory::unit(b, teacher)?, memory::unit(b, student)?];
            let square = loss::squared_difference(b, teacher, student)?;
            let sum = b.sum_keep(square, &[1])?;
            maps.push(b.affine(sum, 0.5, 0.0)?);
        }
        Ok(maps)
    }
}
