use tollgate_domain::Class;
use tollgate_proto::v1::{Finished, PartDone, ToolCallStart};

use super::*;

fn broke() -> Failure {
    Failure::new(Class::UpstreamTruncated, "the answer broke")
}

fn piece(part: u32, piece: Piece) -> CompletionEvent {
    let delta = Delta { part, piece: Some(piece), ..Delta::default() };
    CompletionEvent { event: Some(Event::Delta(delta)), ..CompletionEvent::default() }
}

fn text(part: u32, said: &str) -> CompletionEvent {
    piece(part, Piece::Text(said.into()))
}

fn reasoning(said: &str) -> CompletionEvent {
    piece(0, Piece::Reasoning(said.into()))
}

fn done(part: u32) -> CompletionEvent {
    CompletionEvent { event: Some(Event::PartDone(PartDone { choice: 0, part })), ..CompletionEvent::default() }
}

/// How another attempt may take over after these events, at a provider that signs its reasoning.
fn after(policy: MidstreamPolicy, events: &[CompletionEvent]) -> Option<Takeover> {
    let mut told = Told::nothing(policy, Mode::Stream);
    events.iter().for_each(|event| told.observe(event));
    told.takeover(&broke(), true)
}

#[test]
fn an_answer_is_gone_on_with_from_its_text_without_the_white_space_at_its_end() {
    let takeover = after(MidstreamPolicy::Continue, &[text(0, "Once upon "), text(0, "a time \n")]).unwrap();
    assert_eq!(takeover.beginning(), Some("Once upon a time"));
    assert_eq!(takeover.policy(), MidstreamPolicy::Continue);
}

#[test]
fn nobody_takes_over_unless_it_was_asked_for() {
    assert_eq!(after(MidstreamPolicy::Fail, &[text(0, "Once")]), None);
    assert_eq!(after(MidstreamPolicy::Unspecified, &[text(0, "Once")]), None);
}

#[test]
fn nobody_takes_over_inside_a_tool_call_or_after_one() {
    let start = ToolCallStart { id: "1".into(), name: "look".into(), ..ToolCallStart::default() };
    let begun = [text(0, "I look."), piece(1, Piece::ToolCallStart(start)), piece(1, Piece::ToolArguments("{".into()))];
    for policy in [MidstreamPolicy::Continue, MidstreamPolicy::Restart] {
        assert_eq!(after(policy, &begun), None);
        assert_eq!(after(policy, &[&begun[..], &[done(1), text(2, "So")]].concat()), None);
    }
}

#[test]
fn nobody_takes_over_inside_reasoning_that_is_signed() {
    assert_eq!(after(MidstreamPolicy::Restart, &[reasoning("Hm")]), None);
    let signed = [reasoning("Hm"), piece(0, Piece::ReasoningSignature("sig".into())), done(0)];
    assert_eq!(after(MidstreamPolicy::Restart, &signed), Some(Takeover::Restart));
    let mut unsigned = Told::nothing(MidstreamPolicy::Restart, Mode::Stream);
    unsigned.observe(&reasoning("Hm"));
    assert_eq!(unsigned.takeover(&broke(), false), Some(Takeover::Restart));
}

#[test]
fn an_answer_is_gone_on_with_behind_reasoning_but_not_in_it() {
    let behind = [reasoning("Hm"), done(0), text(1, "So")];
    assert_eq!(after(MidstreamPolicy::Continue, &behind).unwrap().beginning(), Some("So"));
    let mut inside = Told::nothing(MidstreamPolicy::Continue, Mode::Stream);
    inside.observe(&reasoning("Hm"));
    assert_eq!(inside.takeover(&broke(), false), None);
}

#[test]
fn several_choices_start_over_and_are_not_gone_on_with() {
    let mut second = text(0, "b");
    if let Some(Event::Delta(delta)) = &mut second.event {
        delta.choice = 1;
    }
    assert_eq!(after(MidstreamPolicy::Continue, &[text(0, "a"), second.clone()]), None);
    assert_eq!(after(MidstreamPolicy::Restart, &[text(0, "a"), second]), Some(Takeover::Restart));
}

#[test]
fn an_answer_that_has_ended_is_left_as_it_is() {
    let finished = CompletionEvent { event: Some(Event::Finished(Finished::default())), ..CompletionEvent::default() };
    assert_eq!(after(MidstreamPolicy::Restart, &[text(0, "a"), finished]), None);
}

#[test]
fn what_would_fail_elsewhere_too_ends_the_call() {
    let mut told = Told::nothing(MidstreamPolicy::Restart, Mode::Stream);
    told.observe(&text(0, "a"));
    assert_eq!(told.takeover(&Failure::new(Class::ContentFilter, "no"), false), None);
}

/// The caller's view of a continuation: parts and texts.
fn joined(before: &[CompletionEvent], after: Vec<CompletionEvent>) -> Vec<(u32, String)> {
    let takeover = self::after(MidstreamPolicy::Continue, before).unwrap();
    let mut joint = Joint::new(&takeover).unwrap();
    let fitted = after.into_iter().filter_map(|mut event| {
        joint.fit(&mut event);
        match event.event {
            Some(Event::Delta(Delta { part, piece: Some(Piece::Text(said) | Piece::Reasoning(said)), .. })) => {
                Some((part, said))
            }
            _ => None,
        }
    });
    fitted.collect()
}

#[test]
fn the_continuation_goes_on_in_the_part_that_broke() {
    let before = [reasoning("Hm"), done(0), text(1, "Once")];
    let after = vec![text(0, " upon"), text(1, "and more")];
    assert_eq!(joined(&before, after), [(1, " upon".into()), (2, "and more".into())]);
}

#[test]
fn reasoning_before_the_continuation_is_a_part_of_its_own() {
    let after = vec![reasoning("Where was I"), text(1, " upon")];
    assert_eq!(joined(&[text(0, "Once")], after), [(1, "Where was I".into()), (2, " upon".into())]);
}

#[test]
fn white_space_is_not_told_twice() {
    let at_once = joined(&[text(0, "Once \n")], vec![text(0, " \nupon"), text(0, " a")]);
    assert_eq!(at_once, [(0, "upon".into()), (0, " a".into())]);
    let in_pieces = joined(&[text(0, "Once \n")], vec![text(0, " "), text(0, "\n"), text(0, "\nupon")]);
    assert_eq!(in_pieces, [(0, "".into()), (0, "".into()), (0, "\nupon".into())]);
    let other = joined(&[text(0, "Once ")], vec![text(0, "upon"), text(0, " a")]);
    assert_eq!(other, [(0, "upon".into()), (0, " a".into())]);
}

#[test]
fn who_waits_for_the_whole_answer_has_seen_nothing_of_it() {
    let mut whole = Told::nothing(MidstreamPolicy::Fail, Mode::Whole);
    whole.observe(&piece(0, Piece::ToolCallStart(ToolCallStart::default())));
    assert_eq!(whole.takeover(&broke(), true), Some(Takeover::Restart));
}
