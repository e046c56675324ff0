//! Writes the inputs that fuzzing starts from: `fuzz_seeds FOLDER` makes a folder a target in it,
//! and a file an input, named by a hash of its content.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1) else {
        eprintln!("fuzz_seeds FOLDER");
        return ExitCode::from(4);
    };
    match write(Path::new(&folder)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {error}", folder.display());
            ExitCode::from(1)
        }
    }
}

fn write(folder: &Path) -> io::Result<()> {
    for (target, input) in tests::fuzz::seeds::seeds() {
        let folder = folder.join(target);
        std::fs::create_dir_all(&folder)?;
        let mut hasher = DefaultHasher::new();
        input.hash(&mut hasher);
        std::fs::write(folder.join(format!("{:016x}", hasher.finish())), input)?;
    }
    Ok(())
}
