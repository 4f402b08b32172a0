//! What users wait for: a training step of MemAE for images, baseline and boosted, and the decoding of a category.
//!
//! `cargo bench -p mimus-tests --bench memae`; the category is the folder that `MIMUS_CATEGORY` names, for example MVTec AD's screw.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

use criterion::{Criterion, criterion_group, criterion_main};
use mimus_core::abi::Registry;
use mimus_core::plugin::{BackendRequest, Kind, OptionValue, Options, ProgramId, Session, Split};
use mimus_core::random::Stream;
use mimus_core::train::LEARNING_RATE;
use mimus_core::{Error, HostTensor, Result};
use mimus_tests::{begin, defaults, memae};
use rayon::prelude::*;

const SIZE: usize = 256;
const BATCH: usize = 8;

/// A loaded training step and its input.
struct Step {
    session: Box<dyn Session>,
    id: ProgramId,
    inputs: BTreeMap<String, HostTensor>,
}

impl Step {
    fn new(plugins: &Registry, attention: Option<&str>, threads: usize) -> Result<Self> {
        let (spec, program) = memae(plugins, defaults(plugins, Kind::Model, "memae")?, attention, [BATCH, SIZE])?;
        let request =
            BackendRequest { device: "cpu".to_owned(), threads, options: defaults(plugins, Kind::Backend, "candle")? };
        let mut session = plugins.backend("candle")?.open(&request)?;
        let id = begin(session.as_mut(), &program)?;
        let mut stream = Stream::keyed("bench");
        let shape = [BATCH, 3, SIZE, SIZE];
        let image = (0..shape.iter().product()).map(|_| stream.uniform() as f32).collect();
        let input = spec.inputs.first().ok_or_else(|| Error::plugin("the model has no input"))?;
        let inputs = BTreeMap::from([
            (input.name.clone(), HostTensor::f32(shape, image)?),
            (LEARNING_RATE.to_owned(), HostTensor::scalar(1e-4)),
        ]);
        Ok(Self { session, id, inputs })
    }

    fn run(&mut self) -> Result<()> {
        self.session.run(self.id, &self.inputs).map(|_| ())
    }
}

fn say(text: &str) {
    // If nobody can read it, nothing is lost.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// The largest resident memory of the process so far, in MiB; not known on every system.
fn peak_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<f64>().ok()? / 1024.0)
}

fn training(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("memae 256x256, batch 8, training step");
    group.sample_size(10);
    let plugins = mimus_tests::plugins().unwrap_or_default();
    for (name, attention) in [("baseline", None), ("boosted by sca", Some("sca"))] {
        for threads in [1, 2] {
            let mut step = Step::new(&plugins, attention, threads);
            assert!(step.is_ok(), "{:?}", step.err());
            // Writing 5 there begins the measurement of the peak anew.
            let _ = std::fs::write("/proc/self/clear_refs", "5");
            group.bench_function(format!("{name}, {threads} thread(s)"), |bencher| {
                bencher.iter(|| {
                    let done = step.as_mut().map_err(|error| error.clone()).and_then(Step::run);
                    assert!(done.is_ok(), "{done:?}");
                });
            });
            let peak = peak_mib().map_or_else(|| "unknown on this system".to_owned(), |mib| format!("{mib:.0} MiB"));
            say(&format!("peak memory, {name}, {threads} thread(s): {peak}\n"));
        }
    }
}

fn decoding(criterion: &mut Criterion) {
    let Some(category) = std::env::var_os("MIMUS_CATEGORY").map(PathBuf::from) else {
        say("decoding is not measured: MIMUS_CATEGORY names no folder of a category");
        return;
    };
    let load = || -> Result<usize> {
        let plugins = mimus_tests::plugins()?;
        let specs = &plugins.find(Kind::Dataset, "mvtec")?.info.options;
        let name = category.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let groups = OptionValue::Texts(vec![name]);
        let options = Options::resolve(specs, BTreeMap::from([("groups".to_owned(), groups)]))?;
        let data = plugins.dataset("mvtec")?.open(category.parent(), &options)?;
        let read = |split, n| (0..n).into_par_iter().map(move |i| (split, i));
        let group = data.index().groups.first().ok_or_else(|| Error::data("no group"))?;
        let samples = read(Split::Train, group.train.len()).chain(read(Split::Test, group.test.len()));
        samples.map(|(split, i)| data.read(0, split, i).map(|sample| sample.pixels.bytes.len())).sum()
    };
    let mut group = criterion.benchmark_group("category");
    group.sample_size(10);
    group.bench_function("open, index and decode", |bencher| {
        bencher.iter(|| {
            let bytes = load();
            assert!(bytes.is_ok(), "{bytes:?}");
        });
    });
}

criterion_group!(benches, training, decoding);
criterion_main!(benches);
