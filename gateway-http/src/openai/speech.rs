//! `POST /v1/audio/speech` as a `CreateSpeechRequest`.

use tollgate_proto::v1::CreateSpeechRequest;

use super::{Invalid, members::Members};

pub(super) fn read(body: &str) -> Result<CreateSpeechRequest, Invalid> {
    let mut m = Members::read(body, "")?;
    // A voice of one's own is an object.
    let is_word = m.peek("voice").is_some_and(|json| json.starts_with('"'));
    Ok(CreateSpeechRequest {
        model: m.take("model")?,
        input: m.take("input")?,
        voice: if is_word { m.take("voice")? } else { None },
        instructions: m.take("instructions")?,
        response_format: m.take("response_format")?,
        speed: m.take("speed")?,
        user: m.take("user")?,
        extra_json: m.rest(),
        ..CreateSpeechRequest::default()
    })
}

/// Whether the members besides ask for sound in events, `stream_format: sse`.
pub(super) fn wants_events(extra_json: &str) -> bool {
    let read = Members::read(extra_json, "").and_then(|mut members| members.take::<String>("stream_format"));
    read.is_ok_and(|format| format.as_deref() == Some("sse"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_voice_of_ones_own_is_no_word() {
        let read = |voice: &str| read(&format!(r#"{{"model":"m","input":"Hello","voice":{voice}}}"#)).unwrap();
        assert_eq!(read(r#""coral""#).voice.as_deref(), Some("coral"));
        let own = read(r#"{"id":"voice_1"}"#);
        assert_eq!((own.voice, own.extra_json.as_str()), (None, r#"{"voice":{"id":"voice_1"}}"#));
    }
}
