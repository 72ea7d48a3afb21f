//! Speech, transcripts, streamed images and edits: OpenAI "Create speech", "Create transcription", "Create translation", "Create image
//! edit" and the streaming events of each.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::{Bytes, BytesMut};
use http::header;
use serde::Deserialize;
use serde_json::value::RawValue;
use tollgate_domain::{Class, Failure};
use tollgate_proto::v1::{
    Dialect, GeneratedImage, InputUsage, OutputUsage, StreamedImage, Transcript, TranscriptSegment, TranscriptWord,
    Usage, generated_image::Image,
};

use super::{image, request::unsendable};
use crate::{
    Head, Target,
    exchange::MAX_WHOLE,
    framing::{
        ended_early,
        sse::{SseEvent, SseParser},
    },
    json::{self, Object},
    media::{MediaAsk, MediaCall, MediaDecoder, MediaEvent, MediaKind, MediaOutgoing},
    refusal,
    upload::Upload,
};

/// The path of a call below the base URL, without a slash before it.
fn path(ask: &MediaAsk<'_>) -> &'static str {
    match ask {
        MediaAsk::Speech(_) => "audio/speech",
        MediaAsk::Transcription(head) if head.to_english => "audio/translations",
        MediaAsk::Transcription(_) => "audio/transcriptions",
        MediaAsk::ImageStream(_) => "images/generations",
        MediaAsk::ImageEdit(_) => "images/edits",
    }
}

/// Writes the request; `post` knows where it goes.
pub(crate) fn request(
    target: &Target,
    call: &MediaCall<'_>,
    post: impl FnOnce(&str, Vec<u8>) -> Result<http::Request<Bytes>, Failure>,
) -> Result<MediaOutgoing, Failure> {
    let path = path(&call.ask);
    let fields = match call.ask {
        MediaAsk::Speech(_) | MediaAsk::ImageStream(_) => {
            return Ok(MediaOutgoing::same(post(path, body(target, &call.ask)?)?, None));
        }
        MediaAsk::Transcription(head) => {
            let mut fields = Fields(vec![("model".into(), target.model.clone())]);
            fields.maybe("language", head.language.as_ref()).maybe("prompt", head.prompt.as_ref());
            fields.maybe("response_format", head.response_format.as_ref());
            fields.maybe("temperature", head.temperature.as_ref()).maybe("stream", head.stream.as_ref());
            fields.rest(&head.fields)
        }
        MediaAsk::ImageEdit(head) => {
            let mut fields = Fields(vec![("model".into(), target.model.clone())]);
            fields.maybe("prompt", head.prompt.as_ref()).maybe("n", head.n.as_ref()).maybe("size", head.size.as_ref());
            fields.maybe("quality", head.quality.as_ref()).maybe("background", head.background.as_ref());
            fields.maybe("output_format", head.output_format.as_ref()).maybe("user", head.user.as_ref());
            fields.maybe("stream", head.stream.as_ref());
            fields.rest(&head.fields)
        }
    };
    let mut request = post(path, Vec::new())?;
    request.headers_mut().remove(header::CONTENT_TYPE);
    Ok(MediaOutgoing::same(request, Some(fields)))
}

struct Fields(Vec<(String, String)>);

impl Fields {
    fn maybe(&mut self, name: &str, value: Option<&impl ToString>) -> &mut Self {
        self.0.extend(value.map(|value| (name.to_owned(), value.to_string())));
        self
    }

    fn rest(mut self, fields: &[tollgate_proto::v1::UploadField]) -> Vec<(String, String)> {
        self.0.extend(fields.iter().map(|field| (field.name.clone(), field.value.clone())));
        self.0
    }
}

/// Spliced where the caller wrote it in this dialect, else encoded.
fn body(target: &Target, ask: &MediaAsk<'_>) -> Result<Vec<u8>, Failure> {
    let (original, dialect) = match ask {
        MediaAsk::Speech(request) => (&request.original, Dialect::OpenaiAudio),
        MediaAsk::ImageStream(request) => (&request.original, Dialect::OpenaiImages),
        MediaAsk::Transcription(_) | MediaAsk::ImageEdit(_) => return Ok(Vec::new()),
    };
    if let Some(original) = original.as_ref().filter(|original| original.dialect() == dialect) {
        let model = serde_json::to_string(&target.model).unwrap_or_default();
        return json::edit(&original.body, &[("model", Some(model))]).map_err(unsendable);
    }
    match ask {
        MediaAsk::Speech(request) => {
            let mut body = Object::default();
            body.field("model", &target.model).maybe("input", request.input.as_ref());
            body.maybe("voice", request.voice.as_ref()).maybe("instructions", request.instructions.as_ref());
            body.maybe("response_format", request.response_format.as_ref()).maybe("speed", request.speed.as_ref());
            body.maybe("user", request.user.as_ref()).merge(&request.extra_json);
            Ok(body.finish().into_bytes())
        }
        MediaAsk::ImageStream(request) => {
            let body = image::request(target, request)?;
            json::edit(&body, &[("stream", Some("true".into()))]).map_err(unsendable)
        }
        MediaAsk::Transcription(_) | MediaAsk::ImageEdit(_) => Ok(Vec::new()),
    }
}

/// How an answer comes.
enum Form {
    /// As sound.
    Sound,
    /// As one JSON object.
    Json(BytesMut),
    /// As a text.
    Text(BytesMut),
    /// As events.
    Events(SseParser),
}

/// Reads an answer.
pub(crate) struct Decoder {
    kind: MediaKind,
    want_native: bool,
    form: Form,
    usage: Option<Usage>,
    is_done: bool,
    /// Images that are still to come whole.
    awaited: u64,
    has_content: bool,
    /// Transcripts of servers that tell no last one.
    text: String,
}

impl Decoder {
    pub(crate) fn new(call: &MediaCall<'_>, head: &Head) -> Self {
        let kind = call.ask.kind();
        let told = head.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let form = match told.split(';').next().unwrap_or_default().trim() {
            "text/event-stream" => Form::Events(SseParser::default()),
            "application/json" => Form::Json(BytesMut::new()),
            _ => match kind {
                MediaKind::Speech => Form::Sound,
                MediaKind::Transcription | MediaKind::Translation => Form::Text(BytesMut::new()),
                MediaKind::ImageStream | MediaKind::ImageEdit => Form::Json(BytesMut::new()),
            },
        };
        Self {
            kind,
            want_native: call.want_native,
            form,
            usage: None,
            is_done: false,
            awaited: images(call),
            has_content: false,
            text: String::new(),
        }
    }

    fn events(&mut self, events: Vec<SseEvent>, out: &mut Vec<MediaEvent>) -> Result<(), Failure> {
        for event in events {
            self.event(&event, out)?;
        }
        Ok(())
    }

    fn event(&mut self, event: &SseEvent, out: &mut Vec<MediaEvent>) -> Result<(), Failure> {
        let text = event.text();
        if text.trim() == "[DONE]" {
            (self.is_done, self.awaited) = (true, 0);
        } else {
            let read: Event = serde_json::from_str(text).map_err(|error| broken(&error.to_string()))?;
            if read.error.is_some() || read.kind.as_deref() == Some("error") {
                let failure = refusal::in_band(200, &event.data, true);
                return Err(Failure { usage: self.usage.clone(), ..failure });
            }
            if let Some(raw) = &read.usage {
                self.usage = usage_of(self.kind, raw.get());
            }
            self.told(&read, out)?;
        }
        self.has_content = true;
        if self.want_native {
            let mut native = BytesMut::with_capacity(event.data.len() + 64);
            if !event.name.is_empty() {
                native.extend_from_slice(format!("event: {}\n", event.name).as_bytes());
            }
            for line in text.split('\n') {
                native.extend_from_slice(format!("data: {line}\n").as_bytes());
            }
            native.extend_from_slice(b"\n");
            out.push(MediaEvent::Native(native.freeze()));
        }
        Ok(())
    }

    /// What an event says, for those who do not read it themselves.
    fn told(&mut self, event: &Event<'_>, out: &mut Vec<MediaEvent>) -> Result<(), Failure> {
        let kind = event.kind.as_deref().unwrap_or_default();
        let says = !self.want_native;
        match kind {
            "transcript.text.delta" => {
                let delta = event.delta.clone().unwrap_or_default();
                self.text.push_str(&delta);
                out.extend(says.then_some(MediaEvent::Delta(delta)));
            }
            "transcript.text.done" => {
                self.is_done = true;
                let text = event.text.clone().unwrap_or_else(|| std::mem::take(&mut self.text));
                out.extend(says.then(|| MediaEvent::Transcript(Transcript { text, ..Transcript::default() })));
            }
            "speech.audio.delta" if says => {
                let audio = event.audio.as_deref().unwrap_or_default();
                out.push(MediaEvent::Audio(decoded(audio)?));
            }
            "speech.audio.done" => self.is_done = true,
            _ if kind.ends_with(".partial_image") || kind.ends_with(".completed") => {
                let is_partial = kind.ends_with(".partial_image");
                if says {
                    let data = decoded(event.b64_json.as_deref().unwrap_or_default())?;
                    let image = GeneratedImage { image: Some(Image::Data(data)), revised_prompt: None };
                    let word = |word: &Option<String>| word.clone().unwrap_or_default();
                    out.push(MediaEvent::Image(StreamedImage {
                        image: Some(image),
                        partial_index: is_partial.then(|| event.partial_image_index.unwrap_or(0)),
                        size: word(&event.size),
                        quality: word(&event.quality),
                        background: word(&event.background),
                        output_format: word(&event.output_format),
                    }));
                }
                if !is_partial {
                    (self.is_done, self.awaited) = (true, self.awaited.saturating_sub(1));
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// An answer in one JSON object.
    fn whole(&mut self, body: Bytes, out: &mut Vec<MediaEvent>) -> Result<(), Failure> {
        match self.kind {
            MediaKind::Transcription | MediaKind::Translation => {
                let read: Answer<'_> = serde_json::from_slice(&body).map_err(|error| broken(&error.to_string()))?;
                let Some(text) = read.text else { return Err(refusal::in_band(200, &body, true)) };
                let duration_ms = read.duration.and_then(|raw| milliseconds(raw.get()));
                let told = read.usage.and_then(|raw| usage_of(self.kind, raw.get()));
                let timed = || duration_ms.map(|ms| Usage { audio_ms: Some(ms), ..Usage::default() });
                self.usage = told.or_else(timed);
                if !self.want_native {
                    let segments = read.segments.unwrap_or_default().into_iter().map(Segment::read);
                    let words = read.words.unwrap_or_default().into_iter().map(Word::read);
                    out.push(MediaEvent::Transcript(Transcript {
                        text: text.into_owned(),
                        language: read.language.unwrap_or_default(),
                        duration_ms,
                        segments: segments.collect(),
                        words: words.collect(),
                        native_json: String::from_utf8_lossy(&body).into_owned(),
                    }));
                }
            }
            MediaKind::ImageEdit | MediaKind::ImageStream => {
                let response = image::read(&body)?;
                self.usage = response.usage;
                if !self.want_native {
                    out.extend(response.images.into_iter().map(|image| {
                        MediaEvent::Image(StreamedImage {
                            image: Some(image),
                            partial_index: None,
                            size: response.size.clone(),
                            quality: response.quality.clone(),
                            background: response.background.clone(),
                            output_format: response.output_format.clone(),
                        })
                    }));
                }
            }
            // Sound that is JSON is a refusal.
            MediaKind::Speech => return Err(refusal::in_band(200, &body, true)),
        }
        if self.want_native {
            out.push(MediaEvent::Native(body));
        }
        Ok(())
    }

    fn text(&mut self, body: Bytes, out: &mut Vec<MediaEvent>) -> Result<(), Failure> {
        let text = String::from_utf8(body.to_vec()).map_err(|_| broken("it is not valid UTF-8"))?;
        let timed = last_time(&text);
        self.usage = timed.map(|ms| Usage { audio_ms: Some(ms), estimated: true, ..Usage::default() });
        out.push(match self.want_native {
            true => MediaEvent::Native(body),
            false => MediaEvent::Transcript(Transcript { text, ..Transcript::default() }),
        });
        Ok(())
    }
}

impl MediaDecoder for Decoder {
    fn feed(&mut self, bytes: &Bytes, out: &mut Vec<MediaEvent>) -> Result<(), Failure> {
        match &mut self.form {
            Form::Sound if bytes.is_empty() => Ok(()),
            Form::Sound => {
                self.has_content = true;
                out.push(match self.want_native {
                    true => MediaEvent::Native(bytes.clone()),
                    false => MediaEvent::Audio(bytes.clone()),
                });
                Ok(())
            }
            Form::Json(held) | Form::Text(held) => {
                held.extend_from_slice(bytes);
                if held.len() > MAX_WHOLE {
                    return Err(broken("it is larger than 64 MiB"));
                }
                Ok(())
            }
            Form::Events(parser) => {
                let mut events = Vec::new();
                let framed = parser.feed(bytes, &mut events);
                self.events(events, out)?;
                framed
            }
        }
    }

    fn end(&mut self, out: &mut Vec<MediaEvent>) -> Result<(), Failure> {
        match &mut self.form {
            Form::Sound if !self.has_content => return Err(broken("it is empty")),
            Form::Sound => {}
            Form::Json(held) => {
                let body = std::mem::take(held).freeze();
                self.whole(body, out)?;
                // An object says itself where it ends.
                (self.is_done, self.awaited) = (true, 0);
            }
            Form::Text(held) => {
                let body = std::mem::take(held).freeze();
                self.text(body, out)?;
            }
            Form::Events(parser) => {
                let mut events = Vec::new();
                let framed = parser.end(&mut events);
                let read = self.events(events, out);
                if !self.done() {
                    read?;
                    if !self.is_done {
                        return Err(Failure { usage: self.usage.take(), ..ended_early() });
                    }
                    framed?;
                }
            }
        }
        out.extend(self.usage.take().map(MediaEvent::Usage));
        Ok(())
    }

    fn done(&self) -> bool {
        self.is_done && self.awaited == 0
    }
}

/// How many images are asked for, wherever in the form it stands.
fn images(call: &MediaCall<'_>) -> u64 {
    let asked = match call.ask {
        // What stands behind files that were too large to be kept is not known.
        MediaAsk::ImageEdit(_) if call.upload.is_some_and(Upload::is_lost) => return u64::MAX,
        MediaAsk::ImageEdit(head) => {
            let late = call.upload.map(Upload::late_fields).unwrap_or_default();
            late.iter().filter(|field| field.name == "n").find_map(|field| field.value.trim().parse().ok()).or(head.n)
        }
        MediaAsk::ImageStream(request) => request.n,
        MediaAsk::Speech(_) | MediaAsk::Transcription(_) => return 0,
    };
    asked.and_then(|n: i64| u64::try_from(n).ok()).unwrap_or(1)
}

fn broken(what: &str) -> Failure {
    Failure::new(Class::UpstreamProtocol, format!("the answer cannot be read: {what}"))
}

fn decoded(text: &str) -> Result<Bytes, Failure> {
    STANDARD.decode(text).map(Bytes::from).map_err(|error| broken(&error.to_string()))
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    kind: Option<String>,
    delta: Option<String>,
    text: Option<String>,
    audio: Option<String>,
    b64_json: Option<String>,
    partial_image_index: Option<i64>,
    size: Option<String>,
    quality: Option<String>,
    background: Option<String>,
    output_format: Option<String>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
    error: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    text: Option<std::borrow::Cow<'a, str>>,
    language: Option<String>,
    #[serde(borrow)]
    duration: Option<&'a RawValue>,
    segments: Option<Vec<Segment>>,
    words: Option<Vec<Word>>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Segment {
    #[serde(default)]
    start: f64,
    #[serde(default)]
    end: f64,
    #[serde(default)]
    text: String,
    speaker: Option<String>,
}

impl Segment {
    fn read(self) -> TranscriptSegment {
        let Self { start, end, text, speaker } = self;
        TranscriptSegment { start_ms: ms(start), end_ms: ms(end), text, speaker: speaker.unwrap_or_default() }
    }
}

#[derive(Deserialize)]
struct Word {
    #[serde(default)]
    start: f64,
    #[serde(default)]
    end: f64,
    #[serde(default)]
    word: String,
}

impl Word {
    fn read(self) -> TranscriptWord {
        TranscriptWord { start_ms: ms(self.start), end_ms: ms(self.end), word: self.word }
    }
}

/// Up: what is billed by time is not less than it took.
fn ms(seconds: f64) -> u64 {
    (seconds.max(0.0) * 1_000.0).ceil() as u64
}

/// Seconds as JSON: a number, or the text of one.
fn milliseconds(json: &str) -> Option<u64> {
    let seconds: f64 = json.trim_matches('"').parse().ok()?;
    seconds.is_finite().then(|| ms(seconds))
}

#[derive(Deserialize)]
struct Counted<'a> {
    #[serde(borrow)]
    seconds: Option<&'a RawValue>,
    input_tokens: Option<f64>,
    output_tokens: Option<f64>,
    input_token_details: Option<Details>,
}

#[derive(Deserialize)]
struct Details {
    audio_tokens: Option<f64>,
}

/// The figures of an answer; `None`: none that are known.
fn usage_of(kind: MediaKind, text: &str) -> Option<Usage> {
    if matches!(kind, MediaKind::ImageStream | MediaKind::ImageEdit) {
        return image::usage(text);
    }
    let counted: Counted<'_> = serde_json::from_str(text).ok()?;
    let native_json = Some(text.to_owned());
    if let Some(ms) = counted.seconds.and_then(|raw| milliseconds(raw.get())) {
        return Some(Usage { audio_ms: Some(ms), native_json, ..Usage::default() });
    }
    let count = |n: f64| n.max(0.0) as u64;
    let (read, written) = (count(counted.input_tokens?), count(counted.output_tokens.unwrap_or(0.0)));
    let heard = counted.input_token_details.and_then(|details| details.audio_tokens).map_or(0, count);
    let spoken = if kind == MediaKind::Speech { written } else { 0 };
    Some(Usage {
        input: Some(InputUsage { total: read, audio: heard, ..InputUsage::default() }),
        output: Some(OutputUsage { total: written, audio: spoken, ..OutputUsage::default() }),
        native_json,
        ..Usage::default()
    })
}

/// When the last subtitle ends, in milliseconds: `00:00:03,520` (SubRip), `00:03.520` (WebVTT).
fn last_time(text: &str) -> Option<u64> {
    let time = text.rsplit_once("--> ")?.1.split_whitespace().next()?;
    let (clock, thousandths) = time.split_once([',', '.'])?;
    let seconds = clock.split(':').try_fold(0u64, |sum, part| {
        let part: u64 = part.parse().ok()?;
        sum.checked_mul(60)?.checked_add(part)
    })?;
    seconds.checked_mul(1_000)?.checked_add(thousandths.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, StatusCode};
    use tollgate_proto::v1::{CreateSpeechRequest, GenerateImageRequest, TranscriptionHead};

    use super::*;

    #[test]
    fn figures_of_sound_are_read_in_tokens_and_in_time() {
        let tokens = r#"{"type":"tokens","input_tokens":14,"input_token_details":{"text_tokens":10,"audio_tokens":4},"output_tokens":101,"total_tokens":115}"#;
        let read = usage_of(MediaKind::Transcription, tokens).unwrap();
        let (input, output) = (read.input.unwrap(), read.output.unwrap());
        assert_eq!((input.total, input.audio, output.total, output.audio, read.audio_ms), (14, 4, 101, 0, None));
        let timed = usage_of(MediaKind::Transcription, r#"{"type":"duration","seconds":8.47}"#).unwrap();
        assert_eq!((timed.audio_ms, timed.input), (Some(8_470), None));
        let spoken = usage_of(MediaKind::Speech, r#"{"input_tokens":9,"output_tokens":52,"total_tokens":61}"#).unwrap();
        assert_eq!(spoken.output.unwrap().audio, 52);
        assert!(usage_of(MediaKind::Speech, r#"{"type":"other"}"#).is_none());
    }

    fn decoder(ask: MediaAsk<'_>) -> Decoder {
        let call = MediaCall {
            ask,
            upload: None,
            held: &[],
            want_native: false,
            drop_params: false,
            output_cap: None,
            attempt_id: "",
            traceparent: None,
        };
        let events = HeaderValue::from_static("text/event-stream");
        let head = Head { status: StatusCode::OK, headers: HeaderMap::from_iter([(header::CONTENT_TYPE, events)]) };
        Decoder::new(&call, &head)
    }

    /// Whether the end has come once these events have.
    fn is_done(decoder: &mut Decoder, events: &[&str]) -> bool {
        let mut out = Vec::new();
        for event in events {
            decoder.feed(&Bytes::from(format!("data: {event}\n\n")), &mut out).unwrap();
        }
        decoder.done()
    }

    #[test]
    fn events_have_an_end_of_their_own() {
        let (speech, recording) = (CreateSpeechRequest::default(), TranscriptionHead::default());
        let mut said = decoder(MediaAsk::Speech(&speech));
        assert!(!is_done(&mut said, &[r#"{"type":"speech.audio.delta","audio":"AAAA"}"#]));
        let end = r#"{"type":"speech.audio.done","usage":{"input_tokens":9,"output_tokens":52}}"#;
        assert!(is_done(&mut said, &[end]));
        // A line that breaks in the middle of what follows.
        let mut out = Vec::new();
        said.feed(&Bytes::from_static(b"data: [DO"), &mut out).unwrap();
        said.end(&mut out).unwrap();
        let [MediaEvent::Usage(usage)] = &out[..] else { panic!("{out:?}") };
        assert_eq!(usage.output.unwrap().audio, 52);

        let mut heard = decoder(MediaAsk::Transcription(&recording));
        assert!(!is_done(&mut heard, &[r#"{"type":"transcript.text.delta","delta":"a"}"#]));
        assert!(is_done(&mut heard, &[r#"{"type":"transcript.text.done","text":"a"}"#]));
    }

    #[test]
    fn images_have_come_when_as_many_have_as_were_asked_for() {
        let completed = r#"{"type":"image_generation.completed","b64_json":"AAAA"}"#;
        for (n, events, expected) in [(None, 1, true), (Some(2), 1, false), (Some(2), 2, true)] {
            let request = GenerateImageRequest { n, ..GenerateImageRequest::default() };
            let mut drawn = decoder(MediaAsk::ImageStream(&request));
            assert!(!is_done(&mut drawn, &[r#"{"type":"image_generation.partial_image","b64_json":"AAAA"}"#]));
            assert_eq!(is_done(&mut drawn, &vec![completed; events]), expected, "{events} of {n:?}");
        }
        // An image that cannot be read is no end.
        let request = GenerateImageRequest::default();
        let mut drawn = decoder(MediaAsk::ImageStream(&request));
        let broken = Bytes::from(format!("data: {}\n\n", completed.replace("AAAA", "?")));
        assert!(drawn.feed(&broken, &mut Vec::new()).is_err() && !drawn.done());
    }

    #[test]
    fn raw_sound_never_says_that_it_has_ended() {
        let request = CreateSpeechRequest::default();
        let mut said = Decoder { form: Form::Sound, ..decoder(MediaAsk::Speech(&request)) };
        let mut out = Vec::new();
        said.feed(&Bytes::from_static(b"half"), &mut out).unwrap();
        said.end(&mut out).unwrap();
        assert!(!said.done());
    }

    #[test]
    fn subtitles_tell_when_they_end() {
        assert_eq!(last_time("1\n00:00:00,000 --> 00:01:03,520\nHello\n"), Some(63_520));
        assert_eq!(last_time("WEBVTT\n\n00:00.000 --> 00:03.520 align:start\nHello\n"), Some(3_520));
        assert_eq!(last_time("Hello --> there"), None);
    }
}
