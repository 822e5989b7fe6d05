//! Who is told what happens.

use std::path::PathBuf;

use super::ConfigError;
use super::access::first_line;
use super::values::server_url;

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
}

/// Who is told what happens.
#[derive(Clone, Debug)]
pub struct Hooks {
    /// The service, if there is one.
    pub url: Option<String>,
    /// What is signed with, if it is signed.
    pub secret: Option<String>,
    /// Where it was read from.
    args: HookArgs,
}

impl Hooks {
    /// Reads the secret that `args` name.
    ///
    /// # Errors
    /// What is wrong with its file.
    pub fn read(args: &HookArgs) -> Result<Hooks, ConfigError> {
        let secret = args.hook_secret_file.as_deref().map(first_line).transpose()?;
        Ok(Hooks { url: args.hook_url.clone(), secret, args: args.clone() })
    }

    /// The file it was read from.
    pub(super) fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.args.hook_secret_file.iter()
    }

    /// The same, from what the file holds now.
    ///
    /// # Errors
    /// Those of [`Hooks::read`].
    pub fn read_again(&self) -> Result<Hooks, ConfigError> {
        Hooks::read(&self.args)
    }
}
