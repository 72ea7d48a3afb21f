//! Speech: raw samples, to which a head is written for those who ask for a file.

use bytes::{BufMut, Bytes, BytesMut};
use tollgate_domain::Failure;
use tollgate_proto::v1::CreateSpeechRequest;

use super::{contents, text_part};
use crate::{json::Object, left_out::LeftOut, provider::cannot};

/// Samples a second where the answer does not say.
pub(super) const RATE: u32 = 24_000;

pub(super) fn body(request: &CreateSpeechRequest, left_out: &mut LeftOut) -> Result<Object, Failure> {
    if !matches!(request.response_format.as_deref(), None | Some("wav" | "pcm")) {
        return Err(cannot("response_format", "must be wav or pcm for gemini"));
    }
    // "Control speech style with prompts": how to say it stands before what to say.
    let text = match request.instructions.as_deref().map(|how| how.trim().trim_end_matches(['.', ':'])) {
        Some(how) if !how.is_empty() => format!("{how}:\n{}", request.input()),
        _ => request.input().to_owned(),
    };
    let mut config = Object::default();
    config.field("responseModalities", &["AUDIO"]);
    let own = left_out.known(&request.extra_json, &["speechConfig", "stream_format"]);
    match (own.iter().find(|(name, _)| name == "speechConfig"), &request.voice) {
        (Some((_, own)), _) => {
            config.raw("speechConfig", own);
        }
        (None, Some(voice)) => {
            let mut prebuilt = Object::default();
            prebuilt.field("voiceName", voice);
            let (mut of_voice, mut of_speech) = (Object::default(), Object::default());
            of_voice.raw("prebuiltVoiceConfig", &prebuilt.finish());
            of_speech.raw("voiceConfig", &of_voice.finish());
            config.raw("speechConfig", &of_speech.finish());
        }
        (None, None) => {}
    }
    left_out.absent(&[("speed", request.speed.is_some_and(|speed| speed != 1.0))]);
    left_out.user(request.user.as_ref());
    let mut body = Object::default();
    body.raw("contents", &contents(&[text_part(&text)])).raw("generationConfig", &config.finish());
    Ok(body)
}

/// Samples a second of `audio/L16;codec=pcm;rate=24000`; `None`: it is something else.
pub(super) fn rate_of(media_type: &str) -> Option<u32> {
    let mut words = media_type.split(';').map(str::trim);
    let kind = words.next().unwrap_or_default().to_ascii_lowercase();
    if !matches!(kind.as_str(), "audio/l16" | "audio/pcm") {
        return None;
    }
    Some(words.find_map(|word| word.strip_prefix("rate=")?.parse().ok()).unwrap_or(RATE))
}

/// A WAVE file of one channel of 16-bit samples.
pub(super) fn wave(rate: u32, samples: &[u8]) -> Bytes {
    let length = u32::try_from(samples.len()).unwrap_or(u32::MAX - 36);
    let mut file = BytesMut::with_capacity(44 + samples.len());
    file.put_slice(b"RIFF");
    file.put_u32_le(36 + length);
    file.put_slice(b"WAVEfmt ");
    file.put_u32_le(16);
    file.put_u16_le(1);
    file.put_u16_le(1);
    file.put_u32_le(rate);
    file.put_u32_le(rate.saturating_mul(2));
    file.put_u16_le(2);
    file.put_u16_le(16);
    file.put_slice(b"data");
    file.put_u32_le(length);
    file.put_slice(samples);
    file.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_of_samples_tells_their_rate() {
        assert_eq!(rate_of("audio/L16;codec=pcm;rate=16000"), Some(16_000));
        assert_eq!(rate_of("audio/pcm"), Some(RATE));
        assert_eq!(rate_of("audio/mpeg"), None);
    }
}
