//! Tokens of each kind, believed and not.

use jsonwebtoken::{EncodingKey, Header, encode, get_current_timestamp};
use serde_json::{Value, json};

use super::*;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// Made for this test by `openssl genpkey -algorithm ed25519` and `-algorithm ec`.
const ED_PRIVATE: &str = include_str!("ed25519.pem");
const ED_PUBLIC: &str = include_str!("ed25519.pub.pem");
const EC_PRIVATE: &str = include_str!("p256.pem");
const EC_PUBLIC: &str = include_str!("p256.pub.pem");

fn claims(expires_in: i64) -> Value {
    let exp = get_current_timestamp() as i64 + expires_in;
    json!({"stream": "room-*", "watch": true, "exp": exp})
}

fn hs256(claims: &Value, secret: &str) -> String {
    let key = EncodingKey::from_secret(secret.as_bytes());
    encode(&Header::new(Algorithm::HS256), claims, &key).expect("a token")
}

#[test]
fn tokens_of_each_algorithm_are_believed_by_their_own_key_alone() {
    let ed = EncodingKey::from_ed_pem(ED_PRIVATE.as_bytes()).expect("a key");
    let ec = EncodingKey::from_ec_pem(EC_PRIVATE.as_bytes()).expect("a key");
    let make = |algorithm, key| encode(&Header::new(algorithm), &claims(60), key).expect("a token");
    let tokens = [
        hs256(&claims(60), SECRET),
        make(Algorithm::EdDSA, &ed),
        make(Algorithm::ES256, &ec),
        // A public key is no secret.
        hs256(&claims(60), ED_PUBLIC.trim()),
    ];
    for (number, file) in [SECRET, ED_PUBLIC, EC_PUBLIC].into_iter().enumerate() {
        let keys = JwtKeys::read(file).expect("keys");
        for (other, token) in tokens.iter().enumerate() {
            let believed = keys.verify(token, false);
            assert_eq!(believed.is_ok(), other == number, "{number} {other}");
        }
    }
}

#[test]
fn a_token_has_its_time_and_must_say_it() {
    let keys = JwtKeys::read(SECRET).expect("keys");
    let said = keys.verify(&hs256(&claims(60), SECRET), false).expect("it is good");
    assert!(&*said.stream == "room-*" && said.gives(Action::Watch));
    assert!(!said.gives(Action::Publish), "what is not said is not given");
    let old = hs256(&claims(-3_600), SECRET);
    assert_eq!(keys.verify(&old, false).err(), Some(Disbelief::Expired));
    assert!(keys.verify(&old, true).is_ok(), "what was begun with it can be ended");
    let endless = hs256(&json!({"stream": "s", "watch": true}), SECRET);
    assert_eq!(keys.verify(&endless, false).err(), Some(Disbelief::Forged));
    let mut early = claims(60);
    early["nbf"] = json!(get_current_timestamp() + 3_600);
    assert_eq!(keys.verify(&hs256(&early, SECRET), false).err(), Some(Disbelief::Forged));
    let mut of_others = claims(60);
    of_others["aud"] = json!("another server");
    assert_eq!(keys.verify(&hs256(&of_others, SECRET), false).err(), Some(Disbelief::Forged));
    for nonsense in ["", ".", "..", "a.b.c", "eyJhbGciOiJub25lIn0.e30."] {
        assert_eq!(keys.verify(nonsense, false).err(), Some(Disbelief::Forged), "{nonsense}");
    }
}

#[test]
fn a_set_of_keys_is_asked_by_name_and_unknown_kinds_are_passed_over() {
    let oct = |id: &str, secret: &str| {
        let k = base64::Engine::encode(
            &base64::engine::general_purpose::URL_SAFE_NO_PAD,
            secret.as_bytes(),
        );
        json!({"kty": "oct", "kid": id, "k": k})
    };
    let other = "f".repeat(32);
    let rsa = json!({"kty": "RSA", "kid": "r", "n": "AQAB", "e": "AQAB"});
    let set = json!({"keys": [rsa, oct("a", SECRET), oct("b", &other)]});
    let keys = JwtKeys::read(&set.to_string()).expect("keys");
    let token = |id: Option<&str>, secret: &str| {
        let header = Header { kid: id.map(str::to_owned), ..Header::new(Algorithm::HS256) };
        let key = EncodingKey::from_secret(secret.as_bytes());
        encode(&header, &claims(60), &key).expect("a token")
    };
    assert!(keys.verify(&token(Some("a"), SECRET), false).is_ok());
    assert!(keys.verify(&token(None, &other), false).is_ok());
    assert!(keys.verify(&token(Some("b"), SECRET), false).is_err(), "it names another key");
    let err = |text: &str| JwtKeys::read(text).err();
    assert_eq!(err("short"), Some(KeyError::ShortSecret));
    assert_eq!(err("{"), Some(KeyError::Json));
    assert_eq!(err(ED_PRIVATE), Some(KeyError::Pem), "the private key stays where tokens are made");
    assert_eq!(err(&json!({"keys": []}).to_string()), Some(KeyError::NoneOfUse));
    let many: Vec<Value> = (0..=MAX_JWT_KEYS).map(|n| oct(&n.to_string(), SECRET)).collect();
    assert_eq!(err(&json!({ "keys": many }).to_string()), Some(KeyError::TooMany));
}
