//! Subtitles of a transcript whose pieces are told with their times, for those who ask for a file of them: SubRip and WebVTT.

use std::fmt::Write;

use tollgate_proto::v1::TranscriptSegment;

/// A file of subtitles; `None`: that format is none.
pub(crate) fn written(format: &str, segments: &[TranscriptSegment]) -> Option<String> {
    let (mut text, mark) = match format {
        "srt" => (String::new(), ','),
        "vtt" => ("WEBVTT\n\n".to_owned(), '.'),
        _ => return None,
    };
    for (at, segment) in segments.iter().enumerate() {
        if format == "srt" {
            let _ = writeln!(text, "{}", at + 1);
        }
        let (start, end) = (clock(segment.start_ms, mark), clock(segment.end_ms, mark));
        // An empty line ends a subtitle.
        let said: Vec<&str> = segment.text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let _ = write!(text, "{start} --> {end}\n{}\n\n", said.join("\n"));
    }
    Some(text)
}

fn clock(ms: u64, mark: char) -> String {
    let seconds = ms / 1_000;
    format!("{:02}:{:02}:{:02}{mark}{:03}", seconds / 3_600, seconds / 60 % 60, seconds % 60, ms % 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_piece_has_its_time_and_no_piece_ends_another() {
        let segment = |start_ms, end_ms, text: &str| TranscriptSegment {
            start_ms,
            end_ms,
            text: text.into(),
            speaker: String::new(),
        };
        let segments = [segment(0, 1_500, " Good\n\nday."), segment(1_500, 3_723_004, "Bye")];
        assert_eq!(
            written("srt", &segments).unwrap(),
            "1\n00:00:00,000 --> 00:00:01,500\nGood\nday.\n\n2\n00:00:01,500 --> 01:02:03,004\nBye\n\n"
        );
        assert_eq!(
            written("vtt", &segments).unwrap(),
            "WEBVTT\n\n00:00:00.000 --> 00:00:01.500\nGood\nday.\n\n00:00:01.500 --> 01:02:03.004\nBye\n\n"
        );
        assert_eq!(written("json", &segments), None);
    }
}
