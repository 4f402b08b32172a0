//! Opens a library in a short-lived child process first, so that one that crashes is an error and not the end of a sweep.

use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::library::{Examined, Library, hex};
use super::manifest::ABI_EPOCH;
use super::message::{decode, encode};
use crate::error::{Context, Error, Result};

/// How long a child may take to open a library.
const PATIENCE: Duration = Duration::from_secs(30);

/// How the child is started, and where its verdicts are kept.
#[derive(Clone, Debug)]
pub struct Prober {
    /// A program that calls [`Prober::child`] with the path that is added as last argument.
    pub program: PathBuf,
    /// Arguments before the path.
    pub arguments: Vec<OsString>,
    /// Folder for verdicts; `None` to try every time. Only successes are kept: what mends a failure may lie outside of the file. A
    /// verdict holds for the file and for the native libraries that were opened before it.
    pub cache: Option<PathBuf>,
}

impl Prober {
    /// The child's whole work: opens the library and writes the verdict to `out`.
    ///
    /// # Errors
    /// If the verdict cannot be written.
    pub fn child(path: &Path, out: &mut dyn std::io::Write) -> Result<()> {
        let verdict: Result<()> = Library::open(path).map(|_| ());
        out.write_all(&encode(&verdict)?).map_err(|error| Error::io("the verdict cannot be written", path, &error))
    }

    pub(super) fn probe(&self, library: &Examined) -> Result<()> {
        let name = verdict_name(library).context("file", library.path.display())?;
        let verdict = self.cache.as_ref().map(|folder| folder.join(name));
        if verdict.as_ref().is_some_and(|file| file.exists()) {
            return Ok(());
        }
        self.run_child(&library.path).context("file", library.path.display())??;
        if let Some(file) = verdict {
            // A verdict that cannot be kept costs a child next time, nothing else.
            let _ = file.parent().map(std::fs::create_dir_all);
            let _ = std::fs::write(&file, []);
        }
        Ok(())
    }

    /// The child's verdict, or why there is none.
    fn run_child(&self, path: &Path) -> Result<Result<()>> {
        let mut child = Command::new(&self.program)
            .args(&self.arguments)
            .arg(path)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| {
                Error::io("the child process that tries plugins cannot be started", &self.program, &error)
            })?;
        let stdout = child.stdout.take();
        let reader = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            stdout.map(|mut out| out.read_to_end(&mut bytes));
            bytes
        });
        let status = wait(&mut child, PATIENCE)?;
        let Some(status) = status else {
            return Err(Error::plugin(format!("did not finish loading within {} s", PATIENCE.as_secs()))
                .hint("its initialisers hang: nothing heavy belongs there"));
        };
        let bytes = reader.join().unwrap_or_default();
        if !status.success() || bytes.is_empty() {
            return Err(Error::plugin(format!("killed the process that loaded it ({})", describe(status)))
                .hint("the library crashes while it is loaded: rebuild it, or move it out of the plugin folder"));
        }
        decode(&bytes).map_err(|_| {
            Error::plugin("wrote to the standard output of the process that loaded it")
                .hint("nothing may be printed while a library is loaded")
        })
    }
}

fn verdict_name(library: &Examined) -> Result<String> {
    let mut name = format!("{}-{ABI_EPOCH}-{}", library.sha256, env!("CARGO_PKG_VERSION"));
    for found in &library.natives {
        name += &format!("-{}", hex(&Sha256::digest(found.state()?)[..8]));
    }
    Ok(name)
}

fn wait(child: &mut std::process::Child, patience: Duration) -> Result<Option<ExitStatus>> {
    let failed = |error: std::io::Error| Error::plugin(format!("the child process that tried it is lost: {error}"));
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().map_err(failed)? {
            return Ok(Some(status));
        }
        if start.elapsed() > patience {
            child.kill().and_then(|()| child.wait()).map_err(failed)?;
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn describe(status: ExitStatus) -> String {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        let name = match signal {
            4 => "SIGILL",
            6 => "SIGABRT",
            7 => "SIGBUS",
            8 => "SIGFPE",
            9 => "SIGKILL",
            11 => "SIGSEGV",
            _ => "",
        };
        return format!("signal {signal} {name}").trim().to_owned();
    }
    status.to_string()
}
