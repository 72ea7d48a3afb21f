"""What the harness calls equal: a comparison that lets everything pass would pass every client."""

import pytest
from cases import filled, marked
from matching import differences

SAW = {"text": "Hello", "items": [{"id": "a"}, {"id": "a"}], "usage": {"cost": 7}}


@pytest.mark.parametrize(
    "expected",
    [
        {"text": "Hello"},
        {"items": [{"id": "a"}, {}]},
        {"usage": {"cost": {"$gte": 7, "$lte": 7}}, "text": {"$match": "^H"}},
        {"items": {"$size": 2, "$same": "id", "$has": [{"id": "a"}]}},
        {"estimated": False, "error": {"$any": False}, "text": {"$in": ["Hello"]}, "usage": {"$not": {"cost": 8}}},
    ],
)
def test_a_part_of_what_was_seen_is_enough(expected):
    assert list(differences(expected, SAW)) == []


@pytest.mark.parametrize(
    ("expected", "place"),
    [
        ({"text": "hello"}, "text"),
        ({"text": None}, "text"),
        ({"items": [{"id": "a"}]}, "items"),
        ({"items": [{"id": "a"}, {"id": "b"}]}, "items[1].id"),
        ({"usage": {"cost": {"$gte": 8}}}, "usage.cost"),
        ({"usage": {"cost": "7"}}, "usage.cost"),
        ({"cancelled": True}, "cancelled"),
        ({"error": {"type": "RateLimited"}}, "error"),
        ({"error": {"$any": True}}, "error"),
        ({"items": {"$has": [{"id": "b"}]}}, "items"),
        ({"items": {"$size": 3}}, "items"),
        ({"missing": {"$same": "id"}}, "missing"),
        ({"items": {"$same": "name"}}, "items"),
        ({"missing": {"$gte": 0}}, "missing"),
        ({"text": {"$not": "Hello"}}, "text"),
    ],
)
def test_what_differs_is_told_with_its_place(expected, place):
    assert [line.split(":")[0] for line in differences(expected, SAW)] == [place]


def test_names_are_filled_in_and_unknown_ones_refused():
    assert filled({"id": "${key.id}", "all": ["x ${case}"]}, {"key": {"id": "k"}, "case": "w"}) == {"id": "k", "all": ["x w"]}
    with pytest.raises(ValueError, match="made.id"):
        filled("${made.id}", {})


def test_word_and_script_stand_in_the_last_text_of_the_user():
    messages = [{"role": "ROLE_USER", "parts": [{"text": {"text": "a"}}]}, {"role": "ROLE_ASSISTANT", "parts": []}]
    call = {"do": "complete", "request": {"messages": messages}}

    assert marked(call, "word", {"text": "b"})["request"]["messages"][0]["parts"][0]["text"]["text"] == 'a word [[script {"text": "b"}]]'
    assert messages[0]["parts"][0]["text"]["text"] == "a", "the case itself is left alone"
    with pytest.raises(ValueError, match="script"):
        marked({"do": "list_keys", "request": {}}, "word", {"text": "b"})
