//! The backends side by side with PyTorch: one training step, and the scoring of one batch, of MemAE and of the autoencoder.
//!
//! `MIMUS_PYTORCH=PYTHON cargo bench -p mimus-tests --bench backends` where `PYTHON` is an interpreter that can import torch; without it
//! the backends are measured alone. All take turns, so that whatever else the machine does meets each of them; the table gives
//! medians, and their ratio to PyTorch's. With ` -- autoencoder`, ` -- train` or both behind the command only these take place.
//!
//! `MIMUS_DEVICE=cuda:0` measures on a GPU, all in f32, with the way of a batch to the device and of what comes out back; candle
//! has GPUs with `--features cuda`.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use mimus_core::abi::Registry;
use mimus_core::boost;
use mimus_core::plugin::{Backend, BackendRequest, Batch, Kind, ModelRequest, Options, ProgramId, Session};
use mimus_core::random::Stream;
use mimus_core::train::LEARNING_RATE;
use mimus_core::{Context, Error, HostTensor, Result, passes};
use mimus_tests::{Engine, State, begin, defaults, repository, training_step};

const MODELS: [&str; 2] = ["memae", "autoencoder"];
const TASKS: [&str; 2] = ["train", "infer"];
const SIZE: usize = 256;
const BATCH: usize = 8;
const THREADS: usize = 2;
/// Runs that do not count: the first allocates.
const WARM_UP: usize = 2;
const ROUNDS: usize = 11;
/// Before every run: the threads of the one before go on looking for work for a while, and would take a core from the next.
const REST: Duration = Duration::from_millis(300);

/// Something that can run the task once and say how many milliseconds it took.
trait Contestant {
    fn run(&mut self) -> Result<f64>;
}

/// Where everything is measured.
fn device() -> String {
    std::env::var("MIMUS_DEVICE").unwrap_or_else(|_| "cpu".to_owned())
}

/// Whether a backend has the device that everything is measured on.
fn reaches(backend: &dyn Backend, device: &str) -> Result<bool> {
    Ok(backend.devices()?.iter().any(|known| known.name == device))
}

/// A session of a backend.
struct Ours {
    session: Box<dyn Session>,
    id: ProgramId,
    inputs: Batch,
}

impl Ours {
    fn new(plugins: &Registry, backend: &dyn Backend, model: &str, task: &str) -> Result<Self> {
        let options = defaults(plugins, Kind::Model, model)?;
        let request = ModelRequest { options, batch: BATCH, height: SIZE, width: SIZE };
        let spec = plugins.model(model)?.describe(&request)?;
        let programs = boost::baseline(&spec)?;
        let program = match task {
            "train" => training_step(programs.main()?)?,
            _ => passes::optimise(&passes::keep_outputs(&programs.eval, |name| name == "score_map")?)?,
        };
        let options = Options::resolve(&backend.info().options, BTreeMap::new())?;
        let mut session = backend.open(&BackendRequest { device: device(), threads: THREADS, options })?;
        let id = begin(session.as_mut(), &program)?;
        let mut stream = Stream::keyed("bench");
        let mut inputs = Batch::new();
        for (name, value) in program.inputs() {
            let ty = program.ty(value);
            let values = (0..ty.elements()).map(|_| stream.range(-1.0, 1.0) as f32).collect();
            inputs.insert(name.to_owned(), HostTensor::f32(ty.shape.clone(), values)?);
        }
        if let Some(rate) = inputs.get_mut(LEARNING_RATE) {
            *rate = HostTensor::scalar(spec.main()?.learning_rate as f32);
        }
        Ok(Self { session, id, inputs })
    }
}

impl Contestant for Ours {
    fn run(&mut self) -> Result<f64> {
        let start = Instant::now();
        self.session.run(self.id, &self.inputs)?;
        Ok(1e3 * start.elapsed().as_secs_f64())
    }
}

/// `bench/peers/pytorch.py`, which answers a line with a time.
struct Peer {
    child: Child,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Peer {
    fn new(python: &std::ffi::OsStr, model: &str, task: &str) -> Result<Self> {
        let script = repository().join("bench/peers/pytorch.py");
        let numbers = [("--batch", BATCH), ("--size", SIZE), ("--threads", THREADS)];
        let numbers = numbers.into_iter().flat_map(|(name, value)| [name.to_owned(), value.to_string()]);
        let mut command = Command::new(python);
        command.arg(&script).args([model, task, "--device", &device()]).args(numbers);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|error| Error::io("cannot be started", &script, &error))?;
        let (Some(ask), Some(out)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Error::backend("the peer has no pipes"));
        };
        let mut peer = Self { child, ask, answers: BufReader::new(out) };
        peer.answer().map(|_| peer)
    }

    fn answer(&mut self) -> Result<String> {
        let mut line = String::new();
        match self.answers.read_line(&mut line) {
            Ok(read) if read > 0 => Ok(line.trim().to_owned()),
            _ => Err(Error::backend("the peer ended: its own words are above")
                .hint("MIMUS_PYTORCH must be able to import torch")),
        }
    }
}

impl Contestant for Peer {
    fn run(&mut self) -> Result<f64> {
        let asked = self.ask.write_all(b"go\n").and_then(|()| self.ask.flush());
        asked.map_err(|error| Error::backend(format!("the peer cannot be asked: {error}")))?;
        let answer = self.answer()?;
        answer.parse().map_err(|_| Error::backend(format!("the peer answers {answer:?}")))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// The medians of all that can take part, PyTorch's first.
fn race(plugins: &Registry, engines: &[Engine], model: &str, task: &str) -> Result<Vec<(String, f64)>> {
    let mut contestants: Vec<(String, Box<dyn Contestant>)> = Vec::new();
    if let Some(python) = std::env::var_os("MIMUS_PYTORCH") {
        contestants.push(("PyTorch eager".to_owned(), Box::new(Peer::new(&python, model, task)?)));
    }
    for Engine { name, state } in engines {
        match state {
            // Hours, for what these sizes are.
            State::Ready { .. } if name == "reference" => {}
            State::Ready { backend, .. } => {
                let ours = Ours::new(plugins, *backend, model, task).context("backend", name)?;
                contestants.push((name.clone(), Box::new(ours)));
            }
            State::Missing(_) => {}
            State::Broken(error) => return Err(error.clone()),
        }
    }
    let mut times = vec![Vec::new(); contestants.len()];
    for round in 0..WARM_UP + ROUNDS {
        for ((_, contestant), times) in contestants.iter_mut().zip(&mut times) {
            std::thread::sleep(REST);
            let time = contestant.run()?;
            times.extend((round >= WARM_UP).then_some(time));
        }
    }
    Ok(contestants.into_iter().zip(times).map(|((name, _), times)| (name, median(times))).collect())
}

fn report() -> Result<String> {
    let (engines, plugins) = (mimus_tests::backends()?, mimus_tests::plugins()?);
    let device = device();
    let mut absent = Vec::new();
    for Engine { name, state } in &engines {
        match state {
            State::Missing(error) => absent.push((name.clone(), error.to_string())),
            State::Ready { backend, .. } if !reaches(*backend, &device)? => {
                absent.push((name.clone(), format!("it has no device `{device}`")));
            }
            _ => {}
        }
    }
    let engines: Vec<Engine> =
        engines.into_iter().filter(|engine| absent.iter().all(|(name, _)| *name != engine.name)).collect();
    let mut text = format!("{SIZE}x{SIZE}, batch {BATCH}, device {device}, {THREADS} threads, median of {ROUNDS}\n\n");
    text += "| model | task | by | ms | ratio to PyTorch |\n| --- | --- | --- | --- | --- |\n";
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let races = MODELS.iter().flat_map(|model| TASKS.iter().map(move |task| [*model, *task]));
    let races: Vec<[&str; 2]> = races.filter(|race| wanted.iter().all(|name| race.contains(&name.as_str()))).collect();
    if races.is_empty() {
        let hint = format!("name one of {MODELS:?}, one of {TASKS:?}, or one of each");
        return Err(Error::config(format!("there is no race {wanted:?}")).hint(hint));
    }
    for [model, task] in races {
        let medians = race(&plugins, &engines, model, task).context("model", model).context("task", task)?;
        let peer = medians.first().filter(|(name, _)| name.starts_with("PyTorch")).map(|(_, time)| *time);
        for (name, time) in &medians {
            let ratio = peer.map_or_else(|| "not measured".to_owned(), |peer| format!("{:.2}", time / peer));
            text += &format!("| {model} | {task} | {name} | {time:.1} | {ratio} |\n");
        }
    }
    for (name, reason) in absent {
        text += &format!("\n{name} is not measured: {reason}\n");
    }
    Ok(text)
}

fn main() -> ExitCode {
    // `cargo test --benches` asks for a trial only.
    if !std::env::args().any(|argument| argument == "--bench") {
        return ExitCode::SUCCESS;
    }
    let (text, code) = match report() {
        Ok(text) => (text, ExitCode::SUCCESS),
        Err(error) => (format!("error: {error}\n"), ExitCode::FAILURE),
    };
    // If nobody can read it, nothing is lost.
    let _ = std::io::stdout().write_all(text.as_bytes());
    code
}
