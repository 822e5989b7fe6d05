//! Whatever the configuration file says, it is refused in words that name it, or read; and what is
//! read says the same once it is printed.
#![no_main]

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use monoport::config::{CommandLine, ReadError, printed};

fuzz_target!(|bytes: &[u8]| {
    static FILE: OnceLock<PathBuf> = OnceLock::new();
    let file = FILE.get_or_init(|| {
        std::env::temp_dir().join(format!("monoport-fuzz-{}.toml", std::process::id()))
    });
    fs::write(file, bytes).expect("a file can be written");
    let words = || ["monoport", "--config"].map(OsString::from).into_iter();
    let read = || CommandLine::read(words().chain([file.clone().into_os_string()]));
    match read() {
        Ok(read) => {
            let text = printed(&read.origin);
            fs::write(file, &text).expect("a file can be written");
            let again = CommandLine::read(words().chain([file.clone().into_os_string()]));
            let again = again.map_err(|error| format!("{error}\n{text}")).expect("as printed");
            assert_eq!(printed(&again.origin).lines().count(), text.lines().count());
        }
        Err(ReadError::File { problem, .. }) => assert!(!problem.is_empty()),
        Err(ReadError::CommandLine(error)) => panic!("the words are right: {error}"),
    }
});
