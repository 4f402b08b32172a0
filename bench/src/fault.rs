//! Where in a program a number first stops being one.

use mimus_core::plugin::{Batch, Session};
use mimus_core::{Builder, Dtype, Error, Graph, Op, Result, ValueId};

/// Adds to `error` the layer and the operator, or the variable, at which a value of `program` first is not finite.
///
/// The program's own assignments are left out, so that the variables keep their values. If the search fails, `error` says so.
pub(crate) fn locate(session: &mut dyn Session, program: &Graph, inputs: &Batch, error: Error) -> Error {
    let node = match first(session, program, inputs) {
        Ok(Some(value)) => program.producer(value),
        Ok(None) => return error,
        Err(failure) => return error.with("layer", format!("not found: {}", failure.one_line())),
    };
    let error = match &node.op {
        Op::Variable { name, .. } => error.with("variable", name),
        op => error.with("op", op.name()),
    };
    if node.label.is_empty() { error } else { error.with("layer", &node.label) }
}

/// Each value times 0, summed: 0 for finite numbers and nothing else for others, so that one number for each value leaves the device.
fn first(session: &mut dyn Session, program: &Graph, inputs: &Batch) -> Result<Option<ValueId>> {
    let mut b = Builder::extend(program.computation());
    let values = (0..program.values.len() as u32).map(ValueId);
    let values: Vec<ValueId> = values.filter(|id| program.ty(*id).dtype == Dtype::F32).collect();
    for id in &values {
        let axes: Vec<usize> = (0..program.ty(*id).shape.len()).collect();
        let zeros = b.affine(*id, 0.0, 0.0)?;
        let sum = b.sum(zeros, &axes)?;
        b.output(&id.to_string(), sum)?;
    }
    let id = session.load(b.graph())?;
    let known: Vec<&str> = program.inputs().map(|(name, _)| name).collect();
    let inputs = inputs.iter().filter(|(name, _)| known.contains(&name.as_str()));
    let sums = session.run(id, &inputs.map(|(name, value)| (name.clone(), value.clone())).collect())?;
    for (id, sum) in values.into_iter().zip(&sums) {
        if sum.as_f32()?.iter().any(|x| !x.is_finite()) {
            return Ok(Some(id));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use mimus_core::plugin::{Backend, BackendRequest, Options, Reference};
    use mimus_core::{HostTensor, ValueType};

    use super::*;

    #[test]
    fn the_first_layer_that_makes_no_number_is_named_and_variables_keep_their_values() {
        let mut b = Builder::new("test");
        let x = b.input("x", ValueType::f32([2])).unwrap();
        let w = b.parameter("w", [2], mimus_core::Init::ONES).unwrap();
        let log = b.scope("encoder.0", |b| b.mul(x, w).and_then(|y| b.log(y))).unwrap();
        let y = b.scope("decoder", |b| b.relu(log)).unwrap();
        b.output("y", y).unwrap();
        b.assign("w", y).unwrap();
        let program = b.finish();
        let request = BackendRequest { device: "auto".to_owned(), threads: 1, options: Options::default() };
        let mut session = Reference.open(&request).unwrap();
        session.load(&program).unwrap();
        let ones = HostTensor::f32([2], vec![1.0, 1.0]).unwrap();
        session.write("w", &ones).unwrap();
        let mut at = |x: [f32; 2], w: &HostTensor| {
            session.write("w", w).unwrap();
            let inputs = Batch::from([("x".to_owned(), HostTensor::f32([2], x.to_vec()).unwrap())]);
            let error = locate(session.as_mut(), &program, &inputs, Error::data("bad"));
            assert_eq!(&session.read("w").unwrap(), w);
            error.one_line()
        };
        assert_eq!(at([1.0, -1.0], &ones), "layer `encoder.0`: op `log`: bad");
        assert_eq!(at([1.0, 1.0], &ones), "bad");
        let broken = HostTensor::f32([2], vec![1.0, f32::INFINITY]).unwrap();
        assert_eq!(at([1.0, 1.0], &broken), "variable `w`: bad");
    }
}
