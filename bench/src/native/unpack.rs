//! Takes the files that are kept out of a wheel, which is a zip archive.

use std::fs::File;
use std::path::{Component, Path, PathBuf};

use mimus_core::{Error, Result};
use zip::ZipArchive;

/// Unpacks from the archive `wheel` into `folder`; `take` gives path in the archive and path below the folder, both with a slash at the
/// end for a whole folder. Every entry of `take` must give a file.
pub(super) fn unpack(wheel: &Path, take: &[(&str, &str)], folder: &Path) -> Result<()> {
    let damaged = |error: zip::result::ZipError| {
        Error::backend(format!("cannot be unpacked: {error}"))
            .with("file", wheel.display())
            .hint("it was cut off or damaged: run `python3 -m pip cache purge`, then run again")
    };
    let file = File::open(wheel).map_err(|error| super::failed("cannot be opened", wheel, &error))?;
    let mut archive = ZipArchive::new(file).map_err(damaged)?;
    let mut taken = vec![0_usize; take.len()];
    for i in 0..archive.len() {
        let mut entry = archive.by_index(i).map_err(damaged)?;
        let name = entry.name().map_err(damaged)?.into_owned();
        let Some((rule, below)) = take.iter().enumerate().find_map(|(rule, pair)| Some((rule, target(pair, &name)?)))
        else {
            continue;
        };
        if !below.components().all(|part| matches!(part, Component::Normal(_))) {
            return Err(Error::backend(format!("holds the path `{name}`, which leads out of its folder"))
                .with("file", wheel.display()));
        }
        let path = folder.join(below);
        let failed = |error: std::io::Error| super::failed("cannot be written", &path, &error);
        path.parent().map_or(Ok(()), std::fs::create_dir_all).map_err(failed)?;
        let mut out = File::create(&path).map_err(failed)?;
        std::io::copy(&mut entry, &mut out).map_err(failed)?;
        permit(&out, entry.unix_mode()).map_err(failed)?;
        taken[rule] += 1;
    }
    match take.iter().zip(&taken).find(|(_, files)| **files == 0) {
        None => Ok(()),
        Some(((from, _), _)) => Err(Error::backend(format!("does not hold {from}")).with("file", wheel.display())),
    }
}

/// Lets everyone start the file if its owner may in the archive: a program.
fn permit(file: &File, mode: Option<u32>) -> std::io::Result<()> {
    #[cfg(unix)]
    if mode.is_some_and(|mode| mode & 0o100 != 0) {
        use std::os::unix::fs::PermissionsExt;
        file.set_permissions(std::fs::Permissions::from_mode(0o755))?;
    }
    #[cfg(not(unix))]
    let _ = (file, mode);
    Ok(())
}

/// Where the file `name` goes by the rule `(from, to)`; `None` if it is a folder, or not meant.
fn target((from, to): &(&str, &str), name: &str) -> Option<PathBuf> {
    match name.strip_prefix(from)? {
        "" if !name.ends_with('/') => Some(PathBuf::from(to)),
        rest if from.ends_with('/') && !rest.is_empty() && !rest.ends_with('/') => {
            Some(PathBuf::from(format!("{to}{rest}")))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn archive(folder: &Path, names: &[&str]) -> PathBuf {
        let path = folder.join("a.whl");
        let mut writer = zip::ZipWriter::new(File::create(&path).unwrap());
        for name in names {
            writer.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
            writer.write_all(name.as_bytes()).unwrap();
        }
        writer.finish().unwrap();
        path
    }

    #[test]
    fn only_what_is_taken_is_unpacked_and_what_is_missing_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let wheel = archive(folder.path(), &["t/lib/a.so", "t/lib/a.so.1", "t/include/b/c.h", "t/other"]);
        let out = folder.path().join("out");
        unpack(&wheel, &[("t/lib/a.so", "lib/a.so"), ("t/include/", "include/")], &out).unwrap();
        assert_eq!(std::fs::read(out.join("lib/a.so")).unwrap(), b"t/lib/a.so");
        assert!(out.join("include/b/c.h").exists() && !out.join("lib/a.so.1").exists() && !out.join("t").exists());
        let error = unpack(&wheel, &[("t/lib/x.so", "lib/x.so")], &out).unwrap_err();
        assert_eq!(error.message(), "does not hold t/lib/x.so");
    }

    #[test]
    fn half_an_archive_and_a_path_out_of_the_folder_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let wheel = archive(folder.path(), &["t/../../x"]);
        let error = unpack(&wheel, &[("t/", "t/")], &folder.path().join("out")).unwrap_err();
        assert_eq!(error.message(), "holds the path `t/../../x`, which leads out of its folder");
        let bytes = std::fs::read(&wheel).unwrap();
        std::fs::write(&wheel, &bytes[..bytes.len() / 2]).unwrap();
        assert!(
            unpack(&wheel, &[("t/", "t/")], folder.path()).unwrap_err().message().starts_with("cannot be unpacked")
        );
    }
}
