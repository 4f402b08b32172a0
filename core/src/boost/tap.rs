//! What happens at a tap: inconsistency, attention, refinement, mimicking.

use std::collections::BTreeMap;

use super::{ADAPTOR, ATTENTION, Fragment, HEAD, INCONSISTENCY, MAP, REFINED, STUDENT, System, TEACHER};
use crate::blocks::convolution::Conv;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::graph::{Builder, Graph, Inlined, Inlining, Role, ValueId, Variable, inline};
use crate::plugin::{FeatureRequest, Options, attention, head};

/// A mimicking head's outputs at one tap.
pub(super) struct Mimicking {
    pub(super) loss: ValueId,
    pub(super) score: ValueId,
    pub(super) score_map: ValueId,
}

/// Collects what the taps of a student give while it is inlined.
pub(super) struct Taps<'a> {
    system: &'a System<'a>,
    teacher: BTreeMap<String, ValueId>,
    pub(super) mimicking: Vec<Mimicking>,
    pub(super) attention_losses: Vec<ValueId>,
    fragments: Vec<Inlined>,
}

impl<'a> Taps<'a> {
    pub(super) fn new(system: &'a System<'a>, teacher: BTreeMap<String, ValueId>) -> Self {
        Self { system, teacher, mimicking: Vec::new(), attention_losses: Vec::new(), fragments: Vec::new() }
    }

    /// `Fea_I = |Fea_T - Fea_S|`, `M = Att(Fea_I)`, `Fea_R = Fea_S * M`; returns what everything downstream reads.
    pub(super) fn attach(&mut self, b: &mut Builder, name: &str, student: ValueId) -> Result<ValueId> {
        b.tap(&format!("{STUDENT}.{name}"), student)?;
        if !self.system.names.iter().any(|tap| tap == name) {
            return Ok(student);
        }
        let inconsistency = match self.teacher.get(name).copied() {
            Some(teacher) => {
                b.tap(&format!("{TEACHER}.{name}"), teacher)?;
                let adapted = self.adapt(b, name, teacher, student).context("tap", name)?;
                self.mimic(b, name, teacher, adapted)?;
                let difference = b.sub(teacher, adapted)?;
                let inconsistency = b.abs(difference)?;
                b.tap(&format!("{INCONSISTENCY}.{name}"), inconsistency)?;
                inconsistency
            }
            None => student,
        };
        let refined = self.refine(b, name, inconsistency, student).context("tap", name)?;
        b.tap(&format!("{REFINED}.{name}"), refined)?;
        Ok(refined)
    }

    /// The student's feature in the teacher's width.
    fn adapt(&self, b: &mut Builder, name: &str, teacher: ValueId, student: ValueId) -> Result<ValueId> {
        let [wide, own] = [teacher, student].map(|value| b.shape(value).to_vec());
        if wide == own {
            return Ok(student);
        }
        if wide.len() != own.len() || wide.len() < 3 || wide[0] != own[0] || wide[2..] != own[2..] {
            let message = format!("the teacher's feature has shape {wide:?}, the student's {own:?}");
            return Err(Error::config(message).hint("they may differ in the number of channels alone"));
        }
        let label = self.prefix(ADAPTOR, name);
        Conv::new(wide[1], &vec![1; wide.len() - 2]).forward(b, &label, student)
    }

    /// With several taps, the tap's name is part of the prefix.
    fn prefix(&self, kind: &str, tap: &str) -> String {
        if self.system.names.len() == 1 { kind.to_owned() } else { format!("{kind}.{tap}") }
    }

    fn mimic(&mut self, b: &mut Builder, name: &str, teacher: ValueId, student: ValueId) -> Result<()> {
        let Some(fragment) = self.system.head else { return Ok(()) };
        let bindings = [(head::TEACHER, teacher), (head::STUDENT, student)];
        let inlined = self.fragment(b, HEAD, name, fragment, &bindings, true).context("part", HEAD)?;
        let shape = b.shape(student).to_vec();
        let output = |name: &str, expected: &[usize]| expect(b, &inlined, name, expected);
        let map_shape = [&[shape[0], 1], &shape[2..]].concat();
        self.mimicking.push(Mimicking {
            loss: output(head::LOSS, &[])?,
            score: output(head::SCORE, &shape[..1])?,
            score_map: output(head::SCORE_MAP, &map_shape)?,
        });
        self.fragments.push(inlined);
        Ok(())
    }

    fn refine(&mut self, b: &mut Builder, name: &str, inconsistency: ValueId, student: ValueId) -> Result<ValueId> {
        let bindings = [(attention::INCONSISTENCY, inconsistency), (attention::STUDENT, student)];
        let train = self.system.options.train_attention;
        let inlined =
            self.fragment(b, ATTENTION, name, self.system.attention, &bindings, train).context("part", ATTENTION)?;
        if inlined.outputs.contains_key(attention::LOSS) {
            self.attention_losses.push(expect(b, &inlined, attention::LOSS, &[])?);
        }
        let shape = b.shape(student).to_vec();
        if let Some(map) = inlined.outputs.get(attention::MAP) {
            b.tap(&format!("{MAP}.{name}"), *map)?;
        }
        let refined = if inlined.outputs.contains_key(attention::REFINED) {
            expect(b, &inlined, attention::REFINED, &shape)?
        } else {
            let map = inlined.output(attention::MAP).map_err(|e| e.into_kind(ErrorKind::Plugin))?;
            let refined = b.mul(student, map)?;
            if b.shape(refined) != shape {
                let found = b.shape(refined).to_vec();
                return Err(Error::plugin(format!(
                    "the attention map turns a feature of shape {shape:?} into {found:?}"
                ))
                .hint("this is a bug of the attention plugin: its map must broadcast to the feature"));
            }
            refined
        };
        self.fragments.push(inlined);
        Ok(refined)
    }

    /// Inlines a fragment that reads the teacher's side of a tap (its feature, or the inconsistency) and the student's.
    fn fragment(
        &self,
        b: &mut Builder,
        kind: &str,
        tap: &str,
        fragment: &Fragment<'_>,
        values: &[(&str, ValueId); 2],
        train: bool,
    ) -> Result<Inlined> {
        let [(_, teacher), (_, student)] = values;
        let [teacher, student] = [teacher, student].map(|value| b.shape(*value).to_vec());
        let phase = self.system.part.phase();
        let graph: Graph = fragment(FeatureRequest { options: Options::default(), student, teacher, phase })?;
        let prefix = self.prefix(kind, tap);
        let bindings = values.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect::<BTreeMap<_, _>>();
        if let Some((name, _)) = graph.inputs().find(|(name, _)| !bindings.contains_key(*name)) {
            let known: Vec<&str> = values.iter().map(|(name, _)| *name).collect();
            return Err(Error::plugin(format!("reads the input `{name}`; there are: {}", known.join(", "))));
        }
        let freeze = |variable: Variable| if train { variable } else { Variable { role: Role::Buffer, ..variable } };
        inline(
            b,
            &graph,
            Inlining {
                prefix: &prefix,
                variable: &freeze,
                bindings: &bindings,
                redirect: &mut |_, _, value| Ok(value),
            },
        )
    }

    /// Makes the fragments' own assignments (running statistics) part of the program.
    pub(super) fn assignments(&self, b: &mut Builder) -> Result<()> {
        self.fragments.iter().try_for_each(|inlined| inlined.assign(b))
    }
}

fn expect(b: &Builder, inlined: &Inlined, name: &str, shape: &[usize]) -> Result<ValueId> {
    let value = inlined.output(name).map_err(|error| error.into_kind(ErrorKind::Plugin))?;
    if b.shape(value) != shape {
        return Err(Error::plugin(format!("output `{name}` has shape {:?}, expects {shape:?}", b.shape(value)))
            .hint("this is a bug of the plugin: see the contract of its trait in mimus_core::plugin"));
    }
    Ok(value)
}
