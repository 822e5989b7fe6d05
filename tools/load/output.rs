//! Files that results are written to: whether they can be is found out before anything starts.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::Path;

/// Makes sure that the file of the option `flag` can be written; leaves all as it is.
///
/// # Errors
/// The option, the file, and why it can't be written.
pub fn check(flag: &str, path: Option<&Path>) -> io::Result<()> {
    let Some(path) = path else { return Ok(()) };
    let known = fs::metadata(path);
    // A pipe, say, has a reader that would take this for the whole.
    if known.as_ref().is_ok_and(|known| !known.is_file() && !known.is_dir()) {
        return Ok(());
    }
    // Not truncated: what is there stays until there is something new.
    let opened = OpenOptions::new().create(true).append(true).open(path);
    opened.map_err(|error| named(flag, path, &error))?;
    match known {
        Ok(_) => Ok(()),
        Err(_) => fs::remove_file(path).map_err(|error| named(flag, path, &error)),
    }
}

/// Writes the file of the option `flag`.
///
/// # Errors
/// As [`check`].
pub fn write(flag: &str, path: Option<&Path>, text: &str) -> io::Result<()> {
    let Some(path) = path else { return Ok(()) };
    fs::write(path, text).map_err(|error| named(flag, path, &error))
}

fn named(flag: &str, path: &Path, error: &io::Error) -> io::Error {
    let path = path.display();
    io::Error::other(format!("{flag} {path}: {error}; name a file that can be written"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_tells_the_option_and_the_file_and_changes_nothing() {
        let told = check("--json", Some("/nope/x.json".as_ref())).unwrap_err().to_string();
        assert!(told.starts_with("--json /nope/x.json: No such file"), "{told}");
        let told = check("--html", Some("/".as_ref())).unwrap_err().to_string();
        assert!(told.starts_with("--html /: Is a directory"), "{told}");
        let path = std::env::temp_dir().join(format!("monoport-output-{}", std::process::id()));
        check("--json", Some(&path)).unwrap();
        assert!(!path.exists());
        write("--json", Some(&path), "before").unwrap();
        check("--json", Some(&path)).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "before");
        fs::remove_file(&path).unwrap();
        check("--json", None).and_then(|()| check("--json", Some("/dev/null".as_ref()))).unwrap();
    }
}
