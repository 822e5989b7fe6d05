//! Who is told what happens.

use std::path::{Path, PathBuf};

use super::ConfigError;
use super::access::first_line;
use super::values::server_url;
use crate::access::Roots;

/// The flags of webhooks.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct HookArgs {
    /// A service that is told by POST of JSON when streams start and end, and sessions join, leave
    /// and fail
    #[arg(long, value_name = "URL", env = "MONOPORT_HOOK_URL", hide_env_values = true)]
    #[arg(value_parser = server_url)]
    pub hook_url: Option<String>,

    /// A file whose first line is the secret that webhooks are signed with (HMAC-SHA256)
    #[arg(long, value_name = "FILE", requires = "hook_url")]
    pub hook_secret_file: Option<PathBuf>,

    /// A file with certificate authorities (PEM) that sign for the services of --hook-url and
    /// --auth-url, besides those of the system
    #[arg(long, value_name = "FILE", env = "MONOPORT_HOOK_CA_FILE")]
    pub hook_ca_file: Option<PathBuf>,
}

/// Who is told what happens.
#[derive(Clone, Debug)]
pub struct Hooks {
    /// The service, if there is one.
    pub url: Option<String>,
    /// What is signed with, if it is signed.
    pub secret: Option<String>,
    /// Who signs for it, and for the authorization service, besides the system's authorities.
    pub roots: Roots,
    /// Where it was read from.
    args: HookArgs,
}

impl Hooks {
    /// Reads the secret and the authorities that `args` name.
    ///
    /// # Errors
    /// What is wrong with their files.
    pub fn read(args: &HookArgs) -> Result<Hooks, ConfigError> {
        let secret = args.hook_secret_file.as_deref().map(first_line).transpose()?;
        let roots = args.hook_ca_file.as_deref().map(roots).transpose()?.unwrap_or_default();
        Ok(Hooks { url: args.hook_url.clone(), secret, roots, args: args.clone() })
    }

    /// The files it was read from.
    pub(super) fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.args.hook_secret_file.iter().chain(&self.args.hook_ca_file)
    }

    /// The same, from what the file holds now.
    ///
    /// # Errors
    /// Those of [`Hooks::read`].
    pub fn read_again(&self) -> Result<Hooks, ConfigError> {
        Hooks::read(&self.args)
    }
}

fn roots(path: &Path) -> Result<Roots, ConfigError> {
    let error = |problem| ConfigError::HookCaFile { path: path.display().to_string(), problem };
    Roots::read(path).map_err(error)
}
