//! The layer a viewer wants: the extension `layer` of WHEP.
//!
//! A player POSTs what it wants to the URL in the answer's `Link`: a layer by its name, how large a
//! picture it has use for, or nothing, and gets what is best for it. Its shard carries it out.

use axum::body::Body;
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse;
use serde::Deserialize;
use serde_json::Value;

use super::Problem;
use super::prefix::Prefix;
use crate::control::{Control, LayerChoice};
use crate::limits::MAX_LAYERS;

/// Temporal layers are numbered by three bits at most (RFC 9628 §4.2).
const MAX_TEMPORAL_ID: u8 = 7;

/// The extension's name in `Link`.
const RELATION: &str = "urn:ietf:params:whep:ext:core:layer";

/// What a player may say.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
struct Wanted {
    media_id: Option<String>,
    rid: Option<String>,
    encoding_id: Option<String>,
    spatial_layer_id: Option<u8>,
    temporal_layer_id: Option<u8>,
    max_spatial_layer_id: Option<u8>,
    max_temporal_layer_id: Option<u8>,
    max_width: Option<u16>,
    max_height: Option<u16>,
}

/// The value of the `Link` header that leads there.
pub(super) fn link(prefix: &Prefix, id: &str) -> String {
    format!("<{}/session/{id}/layer>; rel=\"{RELATION}\"", prefix.0)
}

/// Takes what the player of the session with this id says.
pub(super) async fn choose(
    control: &Control,
    id: &str,
    body: &str,
) -> Result<Response<Body>, Problem> {
    let choice = read(body)?;
    control.choose_layer(id, choice).await?;
    Ok(StatusCode::OK.into_response())
}

/// The layer that a body asks for: a JSON object, or nothing.
///
/// # Errors
/// What of it can't be, or makes no sense.
pub fn read(body: &str) -> Result<LayerChoice, Problem> {
    let body = if body.trim().is_empty() { "{}" } else { body };
    // A list would do for serde.
    let object: Result<serde_json::Map<String, Value>, _> = serde_json::from_str(body);
    let wanted = object.and_then(|object| serde_json::from_value(Value::Object(object)));
    let wanted: Wanted = wanted.map_err(|error| {
        Problem::bad_request(format!("the body is no JSON object with the wanted layer: {error}"))
    })?;
    let temporal = [wanted.temporal_layer_id, wanted.max_temporal_layer_id];
    if temporal.into_iter().flatten().any(|id| id > MAX_TEMPORAL_ID) {
        return Err(Problem::bad_request(format!(
            "temporalLayerId and maxTemporalLayerId are {MAX_TEMPORAL_ID} at most: 0 has the \
             fewest frames"
        )));
    }
    let places = [wanted.spatial_layer_id, wanted.max_spatial_layer_id];
    if places.into_iter().flatten().any(|place| usize::from(place) >= MAX_LAYERS) {
        return Err(Problem::bad_request(format!(
            "spatialLayerId and maxSpatialLayerId are below {MAX_LAYERS}: 0 is the smallest layer"
        )));
    }
    if [wanted.max_width, wanted.max_height].contains(&Some(0)) {
        return Err(Problem::bad_request("maxWidth and maxHeight are at least 1"));
    }
    if wanted.rid.is_some() && wanted.encoding_id.is_some() && wanted.rid != wanted.encoding_id {
        return Err(Problem::bad_request(
            "rid and encodingId name two layers: they are two words for one thing",
        ));
    }
    Ok(LayerChoice {
        mid: wanted.media_id,
        name: wanted.rid.or(wanted.encoding_id),
        place: wanted.spatial_layer_id,
        max_place: wanted.max_spatial_layer_id,
        max_width: wanted.max_width,
        max_height: wanted.max_height,
        temporal: wanted.temporal_layer_id,
        max_temporal: wanted.max_temporal_layer_id,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_player_says_is_read_and_what_makes_no_sense_is_refused_in_words() {
        assert_eq!(read("").expect("nothing"), LayerChoice::default());
        let high = read(r#"{"mediaId": "1", "encodingId": "h"}"#).expect("a layer");
        assert_eq!((high.mid.as_deref(), high.name.as_deref()), (Some("1"), Some("h")));
        let small = read(r#"{"maxHeight": 360, "maxSpatialLayerId": 1}"#).expect("bounds");
        assert_eq!((small.max_height, small.max_place), (Some(360), Some(1)));
        let thinned = read(r#"{"rid": "h", "temporalLayerId": 1}"#).expect("a temporal layer");
        assert_eq!((thinned.name.as_deref(), thinned.temporal), (Some("h"), Some(1)));
        for (body, words) in [
            ("[]", "no JSON object"),
            (r#"{"encodingID": "h"}"#, "encodingID"),
            (r#"{"maxWidth": "wide"}"#, "invalid type"),
            (r#"{"maxWidth": 0}"#, "at least 1"),
            (r#"{"maxHeight": 70000}"#, "no JSON object"),
            (r#"{"rid": "h", "encodingId": "l"}"#, "two layers"),
            (r#"{"spatialLayerId": 8}"#, "below 8"),
            (r#"{"temporalLayerId": 8}"#, "temporalLayerId"),
        ] {
            let problem = read(body).expect_err(body);
            let detail = problem.detail();
            assert!(detail.contains(words), "{detail}");
        }
    }
}
