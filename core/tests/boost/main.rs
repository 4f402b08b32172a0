//! The boost against the equations of its paper, each recomputed from runs of the plain model.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic in a test is a failed test with its place")]

mod network;

use std::collections::{BTreeMap, BTreeSet};

use mimus_core::autodiff::differentiate_variables;
use mimus_core::boost::{BoostOptions, Fragment, Programs, baseline, boost};
use mimus_core::ops::Mode;
use mimus_core::plugin::{Color, FeatureRequest, ModelSpec, Preprocessing};
use mimus_core::random::Stream;
use mimus_core::reference::{Array, Interpreter, Precision};
use mimus_core::train::Rate;
use mimus_core::{Builder, Graph, Op, Phase, Role};

use network::{CODE, DEEP, INPUT, half, learned, no_attention, of_widths, scaled, spec, squares};

/// Named arrays: inputs, variables or results.
type Arrays = BTreeMap<String, Array>;

fn options(taps: &[&str]) -> BoostOptions {
    let taps = taps.iter().map(|tap| (*tap).to_owned()).collect();
    BoostOptions { taps, lambda: 0.3, mimicking_weight: 0.7, standardise: false, train_attention: true }
}

fn boosted(attention: &Fragment<'_>, options: &BoostOptions) -> Programs {
    boost(&spec(), &spec(), attention, Some(&squares), options).unwrap()
}

/// The graph of the only turn, and that of evaluation.
fn graphs(programs: Programs) -> [Graph; 2] {
    [programs.main().unwrap().graph.clone(), programs.eval]
}

fn training(spec: &ModelSpec) -> &Graph {
    &spec.main().unwrap().graph
}

fn image() -> Arrays {
    let mut stream = Stream::keyed("image");
    let x = (0..INPUT.iter().product()).map(|_| stream.range(-1.0, 1.0)).collect();
    BTreeMap::from([("x".to_owned(), Array::float(INPUT, x))])
}

/// Random values for a program's variables; running variances are positive.
fn state(program: &Graph) -> Arrays {
    let value = |name: &str, shape: &[usize]| {
        let mut stream = Stream::keyed(name);
        let lo = if name.ends_with("running_var") { 0.5 } else { -0.5 };
        Array::float(shape, (0..shape.iter().product()).map(|_| stream.range(lo, lo + 1.0)).collect())
    };
    let variables = program.variables.iter().filter(|variable| !variable.name.ends_with("num_batches_tracked"));
    let mut state: Arrays =
        variables.map(|variable| (variable.name.clone(), value(&variable.name, &variable.ty.shape))).collect();
    for variable in &program.variables {
        state.entry(variable.name.clone()).or_insert_with(|| Array::int([], vec![0]));
    }
    state
}

/// The part of a boosted system's variables that `prefix` names, under the plain model's names.
fn part(state: &Arrays, prefix: &str) -> Arrays {
    let own = |(name, value): (&String, &Array)| Some((name.strip_prefix(prefix)?.to_owned(), value.clone()));
    state.iter().filter_map(own).collect()
}

/// Outputs and, below `tap/`, taps of a program. Variables that `state` lacks have random values: the teacher of a boost has only the
/// variables of its taps.
fn run(program: &Graph, state: &Arrays, inputs: &Arrays) -> Arrays {
    let taps = program.taps.clone();
    let mut b = Builder::extend(program.clone());
    taps.iter().for_each(|tap| b.output(&format!("tap/{}", tap.name), tap.value).unwrap());
    let program = b.finish();
    let mut interpreter = Interpreter::new(Precision::F64);
    interpreter.variables = self::state(&program).into_iter().chain(state.clone()).collect();
    let results = interpreter.run(&program, inputs).unwrap();
    program.outputs.iter().map(|named| named.name.clone()).zip(results).collect()
}

fn floats<'a>(results: &'a Arrays, name: &str) -> &'a [f64] {
    results.get(name).unwrap_or_else(|| panic!("no `{name}` in {:?}", results.keys())).floats().unwrap()
}

fn assert_near(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    let near = |(found, expected): (&f64, &f64)| (found - expected).abs() <= 1e-12 * (1.0 + expected.abs());
    assert!(found.iter().zip(expected).all(near), "{found:?} is not {expected:?}");
}

/// `(Fea_T - Fea_S)^2` at a tap, from the plain model with the teacher's and with the student's variables.
fn squared_difference(state: &Arrays, tap: &str, phase: Phase) -> Array {
    let spec = spec();
    let student = if phase == Phase::Train { training(&spec) } else { &spec.eval };
    let tap = format!("tap/{tap}");
    let teacher = run(&spec.eval, &part(state, "teacher."), &image()).remove(&tap).unwrap();
    let student = run(student, &part(state, "student."), &image()).remove(&tap).unwrap();
    let pairs = teacher.floats().unwrap().iter().zip(student.floats().unwrap());
    Array::float(teacher.shape.clone(), pairs.map(|(t, s)| (t - s) * (t - s)).collect())
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Mean over channels, resized linearly to the input's height and width.
fn score_map(square: &Array) -> Vec<f64> {
    let mut b = Builder::new("map");
    let x = b.input("x", square.ty()).unwrap();
    let map = b.mean_keep(x, &[1]).unwrap();
    let map = b.resize(map, &INPUT[2..], Mode::Linear, false).unwrap();
    b.output("map", map).unwrap();
    let inputs = BTreeMap::from([("x".to_owned(), square.clone())]);
    floats(&run(&b.finish(), &BTreeMap::new(), &inputs), "map").to_vec()
}

fn maxima(map: &[f64]) -> Vec<f64> {
    map.chunks(INPUT[2] * INPUT[3]).map(|image| image.iter().copied().fold(f64::MIN, f64::max)).collect()
}

#[test]
fn the_baseline_is_the_model_with_its_own_image_score() {
    let [train, eval] = graphs(baseline(&spec()).unwrap());
    assert_eq!(train, *training(&spec()));
    let results = run(&eval, &state(&eval), &image());
    assert_near(floats(&results, "score"), &maxima(floats(&results, "score_map")));
}

#[test]
fn without_attention_the_student_is_the_plain_model_and_losses_and_scores_follow_the_equations() {
    for (tap, lambda, mimicking_weight) in [(CODE, 0.0, 1.0), (CODE, 0.3, 0.25), (DEEP, 1.0, 2.0), (DEEP, 0.5, 0.0)] {
        let options = BoostOptions { lambda, mimicking_weight, ..options(&[tap]) };
        let [train, eval] = graphs(boosted(&no_attention, &options));
        let state = state(&train);
        let plain = run(training(&spec()), &part(&state, "student."), &image());
        let results = run(&train, &state, &image());
        let task = floats(&plain, "loss")[0];
        let mimicking = mean(squared_difference(&state, tap, Phase::Train).floats().unwrap());
        assert_near(floats(&results, "loss.task"), &[task]);
        assert_near(floats(&results, "loss.mimicking"), &[mimicking]);
        assert_near(floats(&results, "loss"), &[mimicking_weight * mimicking + task]);

        let plain = run(&spec().eval, &part(&state, "student."), &image());
        let results = run(&eval, &state, &image());
        let task = floats(&plain, "score_map");
        let mimicking = score_map(&squared_difference(&state, tap, Phase::Eval));
        let fused: Vec<f64> = mimicking.iter().zip(task).map(|(m, t)| lambda * m + (1.0 - lambda) * t).collect();
        assert_near(floats(&results, "task.score_map"), task);
        assert_near(floats(&results, "mimicking.score_map"), &mimicking);
        assert_near(floats(&results, "score_map"), &fused);
        assert_near(floats(&results, "score"), &maxima(&fused));
    }
}

#[test]
fn scores_are_standardised_by_the_calibration_before_the_sum() {
    let [_, eval] = graphs(boosted(&no_attention, &BoostOptions { standardise: true, ..options(&[CODE]) }));
    let mut state = state(&eval);
    let calibration = [("task.mean", 0.1), ("task.std", 2.0), ("mimicking.mean", -0.2), ("mimicking.std", 0.5)];
    for (name, value) in calibration {
        state.insert(format!("calibration.{name}"), Array::float([], vec![value]));
    }
    let results = run(&eval, &state, &image());
    let parts = floats(&results, "mimicking.score_map").iter().zip(floats(&results, "task.score_map"));
    let fused: Vec<f64> = parts.map(|(m, t)| 0.3 * (m + 0.2) / 0.5 + 0.7 * (t - 0.1) / 2.0).collect();
    assert_near(floats(&results, "score_map"), &fused);
}

#[test]
fn cues_of_the_students_samples_are_kept_and_its_statistics_stay_measurable() {
    let mut spec = spec();
    let mut b = Builder::extend(spec.eval.clone());
    let map = spec.eval.expect_output("score_map").unwrap();
    let cue = b.mean(map, &[1, 2, 3]).unwrap();
    for name in ["cue", "statistics.cue"] {
        b.output(name, cue).unwrap();
    }
    spec.eval = b.finish();
    let programs = boost(&spec, &spec, &no_attention, Some(&squares), &options(&[CODE])).unwrap();
    let results = run(&programs.eval, &state(&programs.eval), &image());
    let map = floats(&results, "task.score_map");
    let samples = floats(&results, "score").len();
    let means: Vec<f64> =
        map.chunks(map.len() / samples).map(|map| map.iter().sum::<f64>() / map.len() as f64).collect();
    assert_near(floats(&results, "task.cue"), &means);
    assert_near(floats(&results, "statistics.cue"), &means);
}

#[test]
fn everything_behind_the_tap_reads_the_refined_feature_and_the_skip_before_it_does_not() {
    let [train, eval] = graphs(boosted(&half, &options(&[CODE])));
    let state = state(&train);
    let explicit = scaled(0.5);
    let expected = run(training(&explicit), &part(&state, "student."), &image());
    assert_near(floats(&run(&train, &state, &image()), "loss.task"), floats(&expected, "loss"));
    let expected = run(&explicit.eval, &part(&state, "student."), &image());
    let results = run(&eval, &state, &image());
    assert_near(floats(&results, "task.score_map"), floats(&expected, "score_map"));
    assert_near(floats(&results, "tap/student.deep"), floats(&expected, "tap/deep"));
    // Mimicking compares the features before refinement.
    let difference = score_map(&squared_difference(&state, CODE, Phase::Eval));
    assert_near(floats(&results, "mimicking.score_map"), &difference);
}

#[test]
fn the_attention_sees_the_inconsistency_and_its_map_multiplies_the_student() {
    let [_, eval] = graphs(boosted(&learned, &options(&[CODE])));
    let state = state(&eval);
    let results = run(&eval, &state, &image());
    let tap = |part: &str| floats(&results, &format!("tap/{part}.{CODE}"));
    let inconsistency: Vec<f64> =
        tap("teacher").iter().zip(tap("student")).map(|(teacher, student)| (teacher - student).abs()).collect();
    assert_near(tap("inconsistency"), &inconsistency);
    let square = squared_difference(&state, CODE, Phase::Eval);
    assert_near(&inconsistency, &square.floats().unwrap().iter().map(|x| x.sqrt()).collect::<Vec<_>>());
    let refined: Vec<f64> = tap("student").iter().zip(tap("map")).map(|(student, map)| student * map).collect();
    assert_near(tap("refined"), &refined);
    // The map itself, at the first position: sigmoid of the weighted sum over channels.
    let (weight, plane) = (floats(&state, "attention.mix.weight"), 4);
    let logit: f64 = (0..4).map(|c| weight[c] * inconsistency[c * plane]).sum();
    assert_near(&tap("map")[..1], &[1.0 / (1.0 + (-logit).exp())]);
}

#[test]
fn the_teacher_is_frozen_and_in_evaluation_mode() {
    let [train, _] = graphs(boosted(&learned, &options(&[CODE])));
    let teacher = train.variables.iter().filter(|variable| variable.name.starts_with("teacher."));
    assert!(teacher.clone().count() > 0 && teacher.clone().all(|variable| variable.role == Role::Buffer));
    assert!(train.assignments.iter().all(|named| named.name.starts_with("student.")), "running statistics");
    let state = state(&train);
    let results = run(&train, &state, &image());
    let alone = run(&spec().eval, &part(&state, "teacher."), &image());
    let expected = floats(&alone, &format!("tap/{CODE}"));
    assert_near(floats(&results, &format!("tap/teacher.{CODE}")), expected);
}

#[test]
fn the_student_learns_with_or_without_the_attention() {
    for train_attention in [true, false] {
        let options = BoostOptions { train_attention, ..options(&[CODE]) };
        let step = boosted(&learned, &options).main().unwrap().step().unwrap();
        let spec = spec();
        let parameters =
            training(&spec).variables_of(Role::Parameter).map(|variable| format!("student.{}", variable.name));
        let attention = train_attention.then(|| "attention.mix.weight".to_owned());
        assert_eq!(step.trained.into_iter().collect::<BTreeSet<_>>(), parameters.chain(attention).collect());
        assert_eq!(step.unreached, [""; 0]);
    }
}

#[test]
fn a_part_that_learns_faster_does_so_in_the_student() {
    let mut faster = spec();
    let rate = |scope: &str| Rate { scope: scope.to_owned(), factor: 3.0 };
    faster.stages[0].turns[0].rates = vec![rate("early")];
    let programs = boost(&spec(), &faster, &learned, Some(&squares), &options(&[CODE])).unwrap();
    assert_eq!(programs.main().unwrap().rates, [rate("student.early")]);
}

/// Nothing is detached but the teacher: the student feels the attention's derivative too.
#[test]
fn gradients_of_the_boosted_loss_agree_with_finite_differences() {
    let [train, _] = graphs(boosted(&learned, &options(&[CODE, DEEP])));
    let state = state(&train);
    let names: Vec<String> = train.variables_of(Role::Parameter).map(|variable| variable.name.clone()).collect();
    let loss = train.expect_output("loss").unwrap();
    let mut b = Builder::extend(train.clone());
    let gradients = differentiate_variables(&mut b, loss, &names).unwrap();
    gradients.iter().for_each(|(name, value)| b.output(&format!("d {name}"), *value).unwrap());
    let results = run(&b.finish(), &state, &image());
    for name in &names {
        let gradient = floats(&results, &format!("d {name}"));
        for i in [0, gradient.len() / 2, gradient.len() - 1] {
            let shifted = |step: f64| {
                let mut values = floats(&state, name).to_vec();
                values[i] += step;
                let shape = state[name].shape.clone();
                let state = state.clone().into_iter().chain([(name.clone(), Array::float(shape, values))]).collect();
                floats(&run(&train, &state, &image()), "loss")[0]
            };
            let numeric = (shifted(1e-5) - shifted(-1e-5)) / 2e-5;
            let near = (numeric - gradient[i]).abs() <= 1e-7 * (1.0 + numeric.abs());
            assert!(near, "{name}[{i}]: {} is not {numeric}", gradient[i]);
        }
    }
}

#[test]
fn losses_of_several_taps_add_and_their_score_maps_average() {
    let [train, eval] = graphs(boosted(&no_attention, &options(&[CODE, DEEP])));
    let state = state(&train);
    let [code, deep] = [CODE, DEEP].map(|tap| squared_difference(&state, tap, Phase::Train));
    let sum = mean(code.floats().unwrap()) + mean(deep.floats().unwrap());
    assert_near(floats(&run(&train, &state, &image()), "loss.mimicking"), &[sum]);
    let [code, deep] = [CODE, DEEP].map(|tap| score_map(&squared_difference(&state, tap, Phase::Eval)));
    let average: Vec<f64> = code.iter().zip(&deep).map(|(a, b)| (a + b) / 2.0).collect();
    assert_near(floats(&run(&eval, &state, &image()), "mimicking.score_map"), &average);
    let [learned, _] = graphs(boosted(&learned, &options(&[CODE, DEEP])));
    let attention = learned.variables.iter().filter(|variable| variable.name.starts_with("attention."));
    let names: Vec<&str> = attention.map(|variable| variable.name.as_str()).collect();
    assert_eq!(names, ["attention.code.mix.weight", "attention.deep.mix.weight"]);
}

#[test]
fn without_a_head_there_is_no_teacher_and_the_attention_reads_the_student() {
    let [train, eval] = graphs(boost(&spec(), &spec(), &learned, None, &options(&[CODE])).unwrap());
    assert!(train.variables.iter().chain(&eval.variables).all(|variable| !variable.name.starts_with("teacher.")));
    let state = state(&eval);
    let results = run(&eval, &state, &image());
    assert_eq!(floats(&results, "score_map"), floats(&results, "task.score_map"));
    let student = floats(&results, "tap/student.code");
    let logit: f64 = (0..4).map(|c| floats(&state, "attention.mix.weight")[c] * student[c * 4]).sum();
    assert_near(&floats(&results, "tap/map.code")[..1], &[1.0 / (1.0 + (-logit).exp())]);
    let results = run(&train, &state, &image());
    assert_eq!(floats(&results, "loss"), floats(&results, "loss.task"));
}

#[test]
fn a_second_tap_on_the_same_value_does_not_undo_the_first() {
    let mut twice = spec();
    for graph in [&mut twice.stages[0].turns[0].graph, &mut twice.eval] {
        let value = graph.tap(CODE).unwrap();
        let mut b = Builder::extend(graph.clone());
        b.tap("alias", value).unwrap();
        *graph = b.finish();
    }
    let expected = boosted(&half, &options(&[CODE])).eval;
    let found = boost(&twice, &twice, &half, Some(&squares), &options(&[CODE])).unwrap().eval;
    let state = state(&expected);
    let [expected, found] = [expected, found].map(|program| run(&program, &state, &image()));
    assert_eq!(floats(&found, "score_map"), floats(&expected, "score_map"));
}

#[test]
fn an_adaptor_that_learns_brings_a_student_to_its_teachers_width() {
    for taps in [&[CODE][..], &[DEEP], &[CODE, DEEP]] {
        let options = options(taps);
        let programs = boost(&spec(), &of_widths([3, 7]), &learned, Some(&squares), &options).unwrap();
        let step = programs.main().unwrap().step().unwrap();
        let [train, eval] = graphs(programs);
        let state = state(&train);
        let results = run(&eval, &state, &image());
        for tap in taps {
            let prefix = if taps.len() == 1 { "adaptor".to_owned() } else { format!("adaptor.{tap}") };
            let [weight, bias] = ["weight", "bias"].map(|name| format!("{prefix}.{name}"));
            let own = usize::from(*tap == DEEP);
            let (from, to) = ([3, 7][own], [4, 5][own]);
            assert_eq!(state[&weight].shape, [to, from, 1, 1]);
            assert!(step.trained.contains(&weight) && step.trained.contains(&bias), "{:?}", step.trained);
            // At the first position of the first sample: every channel of the teacher's, and a map for every channel of the student's.
            let first = |part: &str, channels: usize| {
                let values = floats(&results, &format!("tap/{part}.{tap}"));
                let plane = values.len() / channels / INPUT[0];
                (0..channels).map(|c| values[c * plane]).collect::<Vec<_>>()
            };
            let (student, teacher) = (first("student", from), first("teacher", to));
            let (weight, bias) = (floats(&state, &weight), floats(&state, &bias));
            let adapted = |c: usize| bias[c] + (0..from).map(|i| weight[c * from + i] * student[i]).sum::<f64>();
            let inconsistency: Vec<f64> = (0..to).map(|c| (teacher[c] - adapted(c)).abs()).collect();
            assert_near(&first("inconsistency", to), &inconsistency);
            let refined: Vec<f64> = student.iter().zip(first("map", from)).map(|(s, m)| s * m).collect();
            assert_near(&first("refined", from), &refined);
        }
        let same = boosted(&learned, &options).eval;
        assert!(same.variables.iter().all(|variable| !variable.name.starts_with("adaptor")));
    }
}

#[test]
fn what_breaks_the_contract_is_refused_with_its_sentence() {
    let message = |spec: &_, attention: &Fragment<'_>, head: &Fragment<'_>, taps: &[&str]| {
        boost(spec, spec, attention, Some(head), &options(taps)).unwrap_err().one_line()
    };
    let error = message(&spec(), &half, &squares, &["cod"]);
    assert!(error.ends_with("there is no tap `cod`; there are: code, deep"), "{error}");
    let mut tapless = spec();
    tapless.taps.clear();
    let error = message(&tapless, &half, &squares, &[]);
    assert_eq!(error, "the model declares no tap, so that nothing can be boosted");
    let mut blind = spec();
    blind.eval.outputs.clear();
    let error = message(&blind, &half, &squares, &[]);
    assert!(error.contains("there is no output `score_map`"), "{error}");
    let wide = |request: FeatureRequest| single("map", &[request.student[0], 1, 5, 5]);
    let error = message(&spec(), &wide, &squares, &[CODE]);
    assert!(error.contains("broadcast"), "{error}");
    let deaf = |request: FeatureRequest| single("weights", &request.student);
    let error = message(&spec(), &deaf, &squares, &[CODE]);
    assert!(error.ends_with("there is no output `map`; there are: weights"), "{error}");
    let curious = |request: FeatureRequest| {
        let mut b = Builder::new("curious");
        let x = b.input("label", mimus_core::ValueType::f32(request.student))?;
        b.output("map", x)?;
        Ok(b.finish())
    };
    let error = message(&spec(), &curious, &squares, &[CODE]);
    assert!(error.ends_with("reads the input `label`; there are: inconsistency, student"), "{error}");
    let vague = |request: FeatureRequest| single("loss", &request.student);
    let error = message(&spec(), &half, &vague, &[CODE]);
    assert!(error.ends_with("output `loss` has shape [2, 4, 2, 2], expects []"), "{error}");
}

#[test]
fn a_student_that_differs_in_more_than_widths_is_refused() {
    let bright = ModelSpec { preprocessing: Preprocessing::uniform(Color::Gray, 0.5, 1.0), ..spec() };
    let message = |student: &ModelSpec, attention: &Fragment<'_>| {
        boost(&spec(), student, attention, Some(&squares), &options(&[CODE])).unwrap_err().one_line()
    };
    assert_eq!(message(&bright, &learned), "teacher and student have different preprocessing");
    let picky = |request: FeatureRequest| single("map", &[request.student[0], request.common_channels()?, 1, 1]);
    let error = message(&of_widths([3, 5]), &picky);
    assert!(error.ends_with("but the teacher's feature has 4 channels and the student's 3"), "{error}");
}

/// A fragment that reads nothing and has one output.
fn single(output: &str, shape: &[usize]) -> mimus_core::Result<Graph> {
    let mut b = Builder::new("single");
    let value = b.node(Op::Fill { dtype: mimus_core::Dtype::F32, shape: shape.to_vec(), value: 1.0 }, &[])?;
    b.output(output, value)?;
    Ok(b.finish())
}
