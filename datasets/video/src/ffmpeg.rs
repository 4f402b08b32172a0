//! Frames of video files, decoded by the program `ffmpeg` into pictures: every coded frame once, in its own size, without loss.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use mimus_core::{Context, Error, Result, native};

/// The environment variable that names the program.
pub(crate) const VARIABLE: &str = "MIMUS_FFMPEG";
/// Changes whenever the same file would give other frames: part of the key of what is kept.
pub(crate) const RECIPE: &str = "frames-1";
/// Extensions of video files, in lower case.
const EXTENSIONS: [&str; 9] = ["avi", "m4v", "mkv", "mov", "mp4", "mpeg", "mpg", "webm", "wmv"];
/// How many lines of what the program says are repeated.
const LINES: usize = 3;

/// Whether a file is a video by its name.
pub(crate) fn is_video(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default().to_ascii_lowercase();
    EXTENSIONS.contains(&extension.as_str())
}

/// The program: what `MIMUS_FFMPEG` names, else `ffmpeg` on the `PATH`, else the one that `mimus backend install ffmpeg` has installed.
///
/// # Errors
/// If there is none.
pub(crate) fn program() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os(VARIABLE) {
        return Ok(named.into());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join("ffmpeg")).find(|file| file.is_file());
    match found {
        Some(found) => Ok(found),
        None => native::find("ffmpeg")?.map(|found| found.library()).ok_or_else(|| {
            Error::data("is a video file, and the program ffmpeg, which decodes it, is not installed").hint(
                "run `mimus backend install ffmpeg`, or install your system's package (Debian: apt-get install ffmpeg), or name the program in MIMUS_FFMPEG",
            )
        }),
    }
}

/// Writes the frames of `video` into `folder`: `000000.png` and so on, 8-bit RGB.
///
/// # Errors
/// If the program cannot be started, or finds anything wrong with the file; repeats what it says.
pub(crate) fn extract(program: &Path, video: &Path, folder: &Path) -> Result<()> {
    let run = || {
        check_length(video)?;
        let input = video.canonicalize().map_err(|error| Error::data(format!("cannot be read: {error}")))?;
        let mut command = Command::new(program);
        // Damage ends the program instead of giving gray blocks; no frame is repeated or dropped to keep a rate.
        command.args(["-nostdin", "-v", "error", "-xerror", "-err_detect", "explode", "-i"]).arg(input);
        command.args(["-map", "0:v:0", "-fps_mode", "passthrough", "-pix_fmt", "rgb24"]);
        command.args(["-sws_flags", "bitexact+accurate_rnd+full_chroma_int", "-compression_level", "1"]);
        // The pattern is relative: a percent sign in the folder's path would be one of its own.
        command.args(["-f", "image2", "-start_number", "0", "%06d.png"]).current_dir(folder).stdin(Stdio::null());
        let ended = command.output().map_err(|error| {
            Error::data(format!("the program {} cannot be started: {error}", program.display()))
                .hint(format!("name the program ffmpeg in the environment variable {VARIABLE}"))
        })?;
        let said = String::from_utf8_lossy(&ended.stderr);
        let said: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).take(LINES).collect();
        if !ended.status.success() || !said.is_empty() {
            let message = format!("ffmpeg does not decode it without errors ({}): {}", ended.status, said.join("; "));
            let full = said.iter().any(|line| line.contains("No space left"));
            return Err(Error::data(message).hint(match full {
                true => "make room on the disk, or name another folder in MIMUS_CACHE",
                false => "copy the file again from its source; if it plays nevertheless, write it anew: ffmpeg -i FILE -c:v ffv1 NEW.mkv",
            }));
        }
        Ok(())
    };
    run().context("file", video.display())
}

/// An AVI says at its start how long it is; without its index, ffmpeg takes the end of a file that was cut for the end of the video.
fn check_length(video: &Path) -> Result<()> {
    let failed = |error: std::io::Error| Error::data(format!("cannot be read: {error}"));
    let mut file = File::open(video).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    let mut start = Vec::new();
    file.by_ref().take(8).read_to_end(&mut start).map_err(failed)?;
    match *start.as_slice() {
        [] => Err(Error::data("is an empty file").hint("copy it again from its source")),
        [b'R', b'I', b'F', b'F', a, b, c, d] => {
            let claimed = u64::from(u32::from_le_bytes([a, b, c, d])) + 8;
            match claimed <= length {
                true => Ok(()),
                false => Err(Error::data(format!("is cut short: has {length} bytes, and its header says {claimed}"))
                    .hint("copy it again from its source")),
            }
        }
        _ => Ok(()),
    }
}
