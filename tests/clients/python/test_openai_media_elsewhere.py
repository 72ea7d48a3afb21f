"""The official OpenAI SDK for Python at deployments of Azure, Mistral and Gemini: sound, images, files and batches in OpenAI's words."""

import base64
import io
import json

import grpc
import openai
import pytest

from processes import UPSTREAM_KEY, Gateway, Shim, eventually

TEXT = "Hello to the gate"
CHAT = "/v1/chat/completions"


class Elsewhere(Gateway):
    """A gateway whose models are at these providers."""

    def _configuration(self, data_dir, base_url):
        root = base_url.removesuffix("/v1")
        by_token = {"input": "1", "output": "10"}

        def at(name, provider, **rest):
            return {"name": name, "deployments": [{"provider": provider, "model": f"{name}-upstream", "price": by_token} | rest]}

        return super()._configuration(data_dir, base_url) | {
            "providers": {
                "azure": {"kind": "azure", "base_url": root, "api_key": UPSTREAM_KEY, "api_version": "2025-04-01-preview"},
                "mistral": {"kind": "mistral", "base_url": f"{root}/mistral/v1", "api_key": UPSTREAM_KEY},
                "gemini": {"kind": "gemini", "base_url": f"{root}/v1beta", "api_key": UPSTREAM_KEY},
            },
            "models": [
                at("azure-images", "azure"),
                at("azure-chat", "azure", max_output_tokens=4096),
                at("voxtral", "mistral", price={"per_audio_second": "0.00005"}),
                at("voxtral-tts", "mistral", price={"per_million_characters": "16"}),
                at("mistral-chat", "mistral", max_output_tokens=4096),
                at("gemini-tts", "gemini"),
                at("gemini-hears", "gemini", max_output_tokens=4096),
                at("gemini-draws", "gemini"),
            ],
            "batches": {"poll": "50ms"},
        }


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, provider):
    with Elsewhere(tmp_path_factory.mktemp("elsewhere"), provider) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def shim(tmp_path_factory, gateway):
    with Shim(tmp_path_factory.mktemp("shim-elsewhere"), gateway) as shim:
        yield shim


def recording(size=2500):
    return ("gate.mp3", io.BytesIO(b"\x07" * size), "audio/mpeg")


def test_azure_makes_edits_and_streams_images(client):
    made = client.images.generate(model="azure-images", prompt="a gate", n=2)
    assert [base64.b64decode(image.b64_json) for image in made.data] == [b"image 0", b"image 1"]

    edited = client.images.edit(model="azure-images", prompt="at dusk", image=("a.png", b"a", "image/png"))
    assert base64.b64decode(edited.data[0].b64_json) == b"image 0"
    events = client.images.generate(model="azure-images", prompt="a gate", stream=True, partial_images=1)
    assert [event.type for event in events] == ["image_generation.partial_image", "image_generation.completed"]


def test_mistral_writes_down_at_length(client):
    answer = client.audio.transcriptions.create(
        model="voxtral", file=recording(), language="en", response_format="verbose_json",
        timestamp_granularities=["segment"],
    )

    assert (answer.text, answer.language, answer.duration) == ("2500 bytes of gate.mp3", "en", 3.0)
    assert [(segment.start, segment.end) for segment in answer.segments] == [(0.0, 3.0)]
    assert (answer.usage.type, answer.usage.seconds) == ("duration", 3.0)


def test_mistral_tells_while_it_listens_and_writes_subtitles(client):
    events = list(client.audio.transcriptions.create(model="voxtral", file=recording(), stream=True))
    assert "".join(event.delta for event in events[:-1]) == events[-1].text == "2500 bytes of gate.mp3"
    assert events[-1].type == "transcript.text.done"

    subtitles = client.audio.transcriptions.create(model="voxtral", file=recording(), response_format="vtt")
    assert subtitles.startswith("WEBVTT\n\n00:00:00.000 --> 00:00:03.000\n")


def test_mistral_tells_who_speaks(client):
    answer = client.audio.transcriptions.create(model="voxtral", file=recording(), response_format="diarized_json")

    assert answer.segments[0].speaker == "speaker_1"


def test_mistral_speaks(client):
    answer = client.audio.speech.create(model="voxtral-tts", input=TEXT, voice="voice_1", response_format="mp3")

    assert (answer.content, answer.response.headers["content-type"]) == (TEXT.encode(), "audio/mpeg")


@pytest.mark.parametrize("more", [{"prompt": "about gates"}, {"include": ["logprobs"]}])
def test_what_mistral_cannot_heed_is_named(client, more):
    with pytest.raises(openai.BadRequestError) as refused:
        client.audio.transcriptions.create(model="voxtral", file=recording(), **more)
    assert refused.value.param.removesuffix("[]") in more


def test_gemini_speaks_a_file(client):
    with client.audio.speech.with_streaming_response.create(
        model="gemini-tts", input=TEXT, voice="Kore", response_format="wav"
    ) as answer:
        sound = b"".join(answer.iter_bytes())

    assert sound[:4] == b"RIFF" and sound[44::2] == TEXT.encode()


def test_gemini_writes_down_and_translates(client):
    heard = client.audio.transcriptions.create(model="gemini-hears", file=recording())
    assert (heard.text, heard.usage.type) == ("2500 bytes of audio/mpeg", "tokens")

    assert client.audio.translations.create(model="gemini-hears", file=recording()).text.startswith("translated")
    events = list(client.audio.transcriptions.create(model="gemini-hears", file=recording(), stream=True))
    assert events[-1].type == "transcript.text.done" and events[-1].usage.output_tokens == 4


def test_gemini_draws(client):
    made = client.images.generate(model="gemini-draws", prompt="a gate", size="1024x1024")
    assert base64.b64decode(made.data[0].b64_json) == b"image of a gate after 0 images"

    image = ("a.png", b"a", "image/png")
    edited = client.images.edit(model="gemini-draws", prompt="at dusk", image=[image, image])
    assert base64.b64decode(edited.data[0].b64_json) == b"image of at dusk after 2 images"
    with pytest.raises(openai.BadRequestError) as refused:
        client.images.generate(model="gemini-draws", prompt="a gate", n=2)
    assert refused.value.param == "n"


@pytest.mark.parametrize("model", ["azure-chat", "mistral-chat"])
def test_a_batch_runs_at_its_model(client, provider, word, model):
    body = {"model": model, "messages": [{"role": "user", "content": word}], "max_completion_tokens": 50}
    lines = [json.dumps({"custom_id": f"r{n}", "method": "POST", "url": CHAT, "body": body}) for n in range(2)]
    file = client.files.create(file=("input.jsonl", "\n".join(lines).encode()), purpose="batch")
    batch = client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")
    assert (batch.status, batch.endpoint, batch.completion_window) == ("validating", CHAT, "24h")

    provider.end_batches(word, "completed")
    output = eventually("it has ended", lambda: client.batches.retrieve(batch.id).output_file_id)
    answers = [json.loads(line) for line in client.files.content(output).text.splitlines()]
    assert [answer["custom_id"] for answer in answers] == ["r0", "r1"]
    assert all(answer["response"]["body"]["choices"] for answer in answers)


@pytest.fixture(scope="module")
def channel(gateway):
    with grpc.insecure_channel(gateway.address) as channel:
        yield channel


def told(stream):
    return [(message.WhichOneof("event"), getattr(message, message.WhichOneof("event"))) for message in stream]


def test_callers_of_the_contract_get_words_and_sound(channel, caller):
    from tollgate.v1 import audio_pb2, audio_pb2_grpc, upload_pb2

    audio = audio_pb2_grpc.AudioServiceStub(channel)
    for model, text in [("voxtral", "5 bytes of a.wav"), ("gemini-hears", "5 bytes of audio/wav")]:
        parts = [
            audio_pb2.CreateTranscriptionRequest(head=audio_pb2.TranscriptionHead(model=model, stream=True)),
            audio_pb2.CreateTranscriptionRequest(file=upload_pb2.UploadFile(field="file", filename="a.wav")),
            audio_pb2.CreateTranscriptionRequest(data=b"sound"),
        ]
        heard = told(audio.CreateTranscription(iter(parts), metadata=caller, timeout=20))
        deltas = "".join(value for kind, value in heard if kind == "delta")
        [transcript] = [value for kind, value in heard if kind == "transcript"]
        assert deltas == transcript.text == text
        assert heard[-1][0] == "usage" and heard[-1][1].cost_nano_usd > 0
    for model, voice in [("voxtral-tts", "voice_1"), ("gemini-tts", "Kore")]:
        asked = audio_pb2.CreateSpeechRequest(model=model, input=TEXT, voice=voice, response_format="pcm")
        spoken = told(audio.CreateSpeech(asked, metadata=caller, timeout=20))
        sound = b"".join(value for kind, value in spoken if kind == "audio")
        assert sound[::2] == TEXT.encode()


def test_what_a_call_elsewhere_cost_is_in_the_ledger(channel, admin, gateway):
    from tollgate.v1 import budget_pb2, budget_pb2_grpc

    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.key) as client:
        answer = client.audio.transcriptions.with_raw_response.create(model="voxtral", file=recording())
    call = answer.headers["x-tollgate-request-id"]
    budgets = budget_pb2_grpc.BudgetServiceStub(channel)

    def booked():
        page = budgets.ListLedgerEntries(budget_pb2.ListLedgerEntriesRequest(page_size=1000), metadata=admin, timeout=20)
        return [entry for entry in page.entries if entry.call_id == call]

    [entry] = eventually("it is booked", booked)
    # Three seconds begun, though the provider tells tokens as well.
    assert (entry.cost_nano_usd, entry.usage.audio_ms, entry.usage.estimated) == (150_000, 3_000, False)
