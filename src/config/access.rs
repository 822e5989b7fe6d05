//! Who may do what: the flags, and the secrets they name, read.

use std::fs::File;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::ConfigError;
use super::lists::{PlaceArgs, Places};
use super::values::server_url;
use crate::access::JwtKeys;
use crate::limits::{MAX_SECRET_FILE_BYTES, MAX_TOKEN_BYTES};

/// The flags of who may do what.
#[derive(Clone, Debug, clap::Args)]
pub struct AccessArgs {
    /// The bearer token that WHIP and WHEP ask for, to publish and to watch
    #[arg(long, value_name = "TOKEN", env = "MONOPORT_TOKEN", hide_env_values = true)]
    pub token: Option<String>,

    /// A file whose first line is the bearer token
    #[arg(long, value_name = "FILE", conflicts_with_all = ["token", "no_auth"])]
    pub token_file: Option<PathBuf>,

    /// The bearer token for publishing; with it alone, everybody may watch
    #[arg(long, value_name = "TOKEN", env = "MONOPORT_PUBLISH_TOKEN", hide_env_values = true)]
    pub publish_token: Option<String>,

    /// A file whose first line is the token for publishing
    #[arg(long, value_name = "FILE", conflicts_with = "publish_token")]
    pub publish_token_file: Option<PathBuf>,

    /// The bearer token for watching
    #[arg(long, value_name = "TOKEN", env = "MONOPORT_WATCH_TOKEN", hide_env_values = true)]
    pub watch_token: Option<String>,

    /// A file whose first line is the token for watching
    #[arg(long, value_name = "FILE", conflicts_with = "watch_token")]
    pub watch_token_file: Option<PathBuf>,

    /// A file with the key of JSON Web Tokens, each for some streams: a secret (HS256), a public
    /// key as PEM (ES256, EdDSA), or a JWKS
    #[arg(long, value_name = "FILE")]
    pub jwt_key_file: Option<PathBuf>,

    /// A service that is asked who may publish and watch, by a POST of JSON as MediaMTX's
    /// authHTTPAddress gets it: 2xx lets in
    #[arg(long, value_name = "URL", env = "MONOPORT_AUTH_URL", hide_env_values = true)]
    #[arg(value_parser = server_url, conflicts_with = "no_auth")]
    pub auth_url: Option<String>,

    /// The bearer token that the API under /api/v1 and the metrics ask for
    #[arg(long, value_name = "TOKEN", env = "MONOPORT_ADMIN_TOKEN", hide_env_values = true)]
    pub admin_token: Option<String>,

    /// A file whose first line is the API's bearer token
    #[arg(long, value_name = "FILE", conflicts_with = "admin_token")]
    pub admin_token_file: Option<PathBuf>,

    /// Let everybody read /metrics
    #[arg(long)]
    pub metrics_open: bool,

    /// From where.
    #[command(flatten)]
    pub places: PlaceArgs,

    /// Serve everybody whom no token is asked of, also on addresses other than this machine's own
    #[arg(long, conflicts_with = "token")]
    pub no_auth: bool,
}

/// Who may do what.
#[derive(Clone, Debug)]
pub struct Access {
    /// The token for publishing, if one is asked for.
    pub publish: Option<String>,
    /// The token for watching, if one is asked for.
    pub watch: Option<String>,
    /// The token the API and the metrics ask for, if there is one.
    pub admin: Option<String>,
    /// The keys of JSON Web Tokens, if there are some.
    pub jwt: Option<JwtKeys>,
    /// The authorization service, if one is asked.
    pub auth_url: Option<String>,
    /// Whether the metrics are for everybody.
    pub metrics_open: bool,
    /// Whether everybody is served whom no token is asked of.
    pub everybody: bool,
    /// From where.
    pub places: Places,
    /// Where it was read from.
    args: AccessArgs,
}

impl Access {
    /// Reads the secrets that `args` name, for HTTP at `http`.
    ///
    /// # Errors
    /// What is wrong with them, or that strangers could publish without `--no-auth`.
    pub fn read(args: &AccessArgs, http: SocketAddr) -> Result<Access, ConfigError> {
        let admin = token(args.admin_token.as_deref(), args.admin_token_file.as_deref())?;
        let both = token(args.token.as_deref(), args.token_file.as_deref())?;
        let publish = token(args.publish_token.as_deref(), args.publish_token_file.as_deref())?;
        let watch = token(args.watch_token.as_deref(), args.watch_token_file.as_deref())?;
        let (publish, watch) = (publish.or_else(|| both.clone()), watch.or(both));
        let jwt = args.jwt_key_file.as_deref().map(jwt_keys).transpose()?;
        let is_open = publish.is_none() && jwt.is_none() && args.auth_url.is_none();
        if is_open && !args.no_auth && !http.ip().is_loopback() {
            return Err(ConfigError::OpenWithoutToken(http));
        }
        let (metrics_open, everybody) = (args.metrics_open, args.no_auth);
        let places = Places::read(&args.places)?;
        let (auth_url, args) = (args.auth_url.clone(), args.clone());
        Ok(Access { publish, watch, admin, jwt, auth_url, metrics_open, everybody, places, args })
    }

    /// The files it was read from.
    pub(super) fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let AccessArgs { token_file, publish_token_file, watch_token_file, .. } = &self.args;
        let AccessArgs { jwt_key_file, admin_token_file, places, .. } = &self.args;
        let secrets = [token_file, publish_token_file, watch_token_file, admin_token_file];
        let lists = [jwt_key_file, &places.allow_file, &places.deny_file];
        secrets.into_iter().chain(lists).flatten()
    }

    /// The same, from what the files hold now.
    ///
    /// # Errors
    /// Those of [`Access::read`].
    pub fn read_again(&self, http: SocketAddr) -> Result<Access, ConfigError> {
        Access::read(&self.args, http)
    }
}

fn jwt_keys(path: &Path) -> Result<JwtKeys, ConfigError> {
    let error =
        |problem: String| ConfigError::JwtKeyFile { path: path.display().to_string(), problem };
    let text = text_of(path).map_err(|e| error(e.to_string()))?;
    JwtKeys::read(&text).map_err(|e| error(e.to_string()))
}

/// A file of secrets, which is short.
pub(super) fn text_of(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(MAX_SECRET_FILE_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

/// The first line of a file with a secret.
pub(super) fn first_line(path: &Path) -> Result<String, ConfigError> {
    let error =
        |problem: String| ConfigError::TokenFile { path: path.display().to_string(), problem };
    let text = text_of(path).map_err(|e| error(e.to_string()))?;
    let line = text.lines().next().map(str::trim).unwrap_or_default();
    if line.is_empty() {
        return Err(error("its first line is empty".into()));
    }
    Ok(line.to_owned())
}

fn token(given: Option<&str>, file: Option<&Path>) -> Result<Option<String>, ConfigError> {
    let token = match (given, file) {
        (Some(token), _) => Some(token.to_owned()),
        (None, Some(path)) => Some(first_line(path)?),
        (None, None) => None,
    };
    let is_usable = |token: &str| {
        (1..=MAX_TOKEN_BYTES).contains(&token.len()) && token.bytes().all(|b| b.is_ascii_graphic())
    };
    match token {
        Some(token) if !is_usable(&token) => Err(ConfigError::UnusableToken),
        token => Ok(token),
    }
}
