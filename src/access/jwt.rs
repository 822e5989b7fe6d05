//! JSON Web Tokens (RFC 7519): whoever has the key says who may do what with which streams.
//!
//! ```json
//! {"stream": "room-7-*", "publish": false, "watch": true, "exp": 1767225600}
//! ```
//!
//! A key takes the one algorithm that is its own, whatever the token's header says: a public key is
//! never used as a secret.

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::Deserialize;

use super::Action;
use crate::limits::{JWT_LEEWAY, MAX_JWT_KEYS, MIN_JWT_SECRET_BYTES};

/// What a token says.
#[derive(Debug, Deserialize)]
pub(super) struct Claims {
    /// A stream's name, in which `*` stands for any characters.
    pub stream: Box<str>,
    #[serde(default)]
    publish: bool,
    #[serde(default)]
    watch: bool,
}

impl Claims {
    pub fn gives(&self, action: Action) -> bool {
        match action {
            Action::Publish => self.publish,
            Action::Watch => self.watch,
            Action::Administer | Action::Measure => false,
        }
    }
}

/// Why a token is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Disbelief {
    /// It was good until a while ago.
    Expired,
    /// Nobody who has the key has made it, or not for this.
    Forged,
}

/// The keys that tokens may be made with.
#[derive(Clone, Debug)]
pub struct JwtKeys(Vec<Key>);

#[derive(Clone, Debug)]
struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

/// Why a file of keys can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A secret that could be guessed (RFC 7518 §3.2).
    #[error("the secret of HS256 must have {MIN_JWT_SECRET_BYTES} bytes or more")]
    ShortSecret,
    /// Neither kind of public key.
    #[error("the PEM holds no public key of P-256 (ES256) or Ed25519 (EdDSA)")]
    Pem,
    /// Not what RFC 7517 says.
    #[error("it begins like a JWK or a set of them, and is none")]
    Json,
    /// None of a kind that is taken.
    #[error("of its keys none is for HS256, ES256 or EdDSA")]
    NoneOfUse,
    /// More than anybody rotates.
    #[error("it has more than {MAX_JWT_KEYS} keys")]
    TooMany,
}

impl JwtKeys {
    /// Reads a file: a public key as PEM, a JWK or a set of them as JSON, or else a secret, that is
    /// the first line.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(text: &str) -> Result<JwtKeys, KeyError> {
        let text = text.trim();
        if text.starts_with("-----BEGIN") {
            return of_pem(text.as_bytes()).map(|key| JwtKeys(vec![key]));
        }
        if text.starts_with('{') {
            return of_json(text);
        }
        let secret = text.lines().next().unwrap_or_default().trim();
        let key = of_secret(secret.as_bytes(), None)?;
        Ok(JwtKeys(vec![key]))
    }

    /// What `token` says, if one of the keys has made it; with `late` even if its time is over.
    pub(super) fn verify(&self, token: &str, late: bool) -> Result<Claims, Disbelief> {
        let header = decode_header(token).map_err(|_error| Disbelief::Forged)?;
        let fits = |key: &&Key| {
            let named = header.kid.is_none() || key.id.is_none() || header.kid == key.id;
            key.algorithm == header.alg && named
        };
        let mut disbelief = Disbelief::Forged;
        for key in self.0.iter().filter(fits) {
            let mut validation = Validation::new(key.algorithm);
            validation.leeway = JWT_LEEWAY.as_secs();
            validation.validate_nbf = true;
            validation.validate_exp = !late;
            match decode::<Claims>(token, &key.key, &validation) {
                Ok(token) => return Ok(token.claims),
                Err(error) if *error.kind() == ErrorKind::ExpiredSignature => {
                    disbelief = Disbelief::Expired;
                }
                Err(_error) => {}
            }
        }
        Err(disbelief)
    }
}

fn of_secret(secret: &[u8], id: Option<String>) -> Result<Key, KeyError> {
    if secret.len() < MIN_JWT_SECRET_BYTES {
        return Err(KeyError::ShortSecret);
    }
    Ok(Key { id, algorithm: Algorithm::HS256, key: DecodingKey::from_secret(secret) })
}

fn of_pem(pem: &[u8]) -> Result<Key, KeyError> {
    let ed = DecodingKey::from_ed_pem(pem).map(|key| (Algorithm::EdDSA, key));
    let either = ed.or_else(|_| DecodingKey::from_ec_pem(pem).map(|key| (Algorithm::ES256, key)));
    let (algorithm, key) = either.map_err(|_error| KeyError::Pem)?;
    // A point of P-384 is longer, and would verify nothing.
    let fits = key.try_get_as_bytes().is_ok_and(|bytes| match algorithm {
        Algorithm::ES256 => bytes.len() == 65,
        _ => bytes.len() == 32,
    });
    if fits { Ok(Key { id: None, algorithm, key }) } else { Err(KeyError::Pem) }
}

fn of_json(text: &str) -> Result<JwtKeys, KeyError> {
    let set: Vec<Jwk> = serde_json::from_str::<JwkSet>(text)
        .map(|set| set.keys)
        .or_else(|_| serde_json::from_str::<Jwk>(text).map(|key| vec![key]))
        .map_err(|_error| KeyError::Json)?;
    if set.len() > MAX_JWT_KEYS {
        return Err(KeyError::TooMany);
    }
    let mut keys = Vec::new();
    for jwk in &set {
        let id = jwk.common.key_id.clone();
        let algorithm = match &jwk.algorithm {
            AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
                Algorithm::ES256
            }
            AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
                Algorithm::EdDSA
            }
            AlgorithmParameters::OctetKey(_) => Algorithm::HS256,
            // A set may have keys for others, too.
            _ => continue,
        };
        let key = DecodingKey::from_jwk(jwk).map_err(|_error| KeyError::Json)?;
        if algorithm == Algorithm::HS256 {
            let secret = key.try_get_as_bytes().map_err(|_error| KeyError::Json)?;
            keys.push(of_secret(secret, id)?);
        } else {
            keys.push(Key { id, algorithm, key });
        }
    }
    if keys.is_empty() { Err(KeyError::NoneOfUse) } else { Ok(JwtKeys(keys)) }
}

#[cfg(test)]
mod tests;
