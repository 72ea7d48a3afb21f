"""LiteLLM's admin routes as its users' scripts drive them: plain HTTP, in the order of a team's first day."""

import uuid

import httpx2
import openai
import pytest


class Admin:
    """A script's little helper: every answer but the expected status ends it."""

    def __init__(self, url, key):
        self.url, self.headers = url, {"Authorization": f"Bearer {key}"}

    def post(self, route, status=200, **body):
        answer = httpx2.post(self.url + route, headers=self.headers, json=body, timeout=20)
        assert answer.status_code == status, (route, answer.status_code, answer.text)
        return answer.json()

    def get(self, route, status=200, **query):
        answer = httpx2.get(self.url + route, headers=self.headers, params=query, timeout=20)
        assert answer.status_code == status, (route, answer.status_code, answer.text)
        return answer.json()


@pytest.fixture
def admin(gateway):
    return Admin(gateway.url, gateway.admin_key)


@pytest.fixture
def name():
    return uuid.uuid4().hex[:12]


def complete(gateway, key, **rest):
    client = openai.OpenAI(api_key=key, base_url=gateway.url + "/v1", max_retries=0)
    messages = [{"role": "user", "content": "Say hello"}]
    return client.chat.completions.with_raw_response.create(model="gpt", messages=messages, **rest)


def test_the_first_day_of_a_team(gateway, admin, name):
    organization = admin.post(
        "/organization/new", organization_alias=f"Acme {name}", models=["gpt"], max_budget=100, budget_duration="30d"
    )
    team = admin.post(
        "/team/new",
        team_alias="Blue",
        team_id=f"blue-{name}",
        organization_id=organization["organization_id"],
        max_budget=50.0,
        budget_duration="30d",
        tpm_limit=1_000_000,
        rpm_limit=1_000,
        metadata={"cost_center": 4711},
    )
    assert (team["team_id"], team["max_budget"], team["spend"]) == (f"blue-{name}", 50.0, 0)
    assert team["metadata"] == {"cost_center": 4711}

    made = admin.post(
        "/key/generate",
        team_id=team["team_id"],
        user_id=f"alice-{name}",
        key_alias=f"ci-{name}",
        models=["gpt"],
        max_budget=0.0001,
        budget_duration="1d",
        rpm_limit=100,
        tpm_limit=100_000,
        duration="30d",
        metadata={"owner": "alice", "tier": 2},
        send_invite_email=False,
    )
    key = made["key"]
    assert made["max_budget"] == 0.0001 and made["budget_duration"] == "1d" and made["rpm_limit"] == 100
    assert made["expires"] and made["key_name"] and made["token"]

    # The key works until its budget is spent, and what was spent is told at once.
    ids, refused = [], None
    for _ in range(100):
        try:
            answer = complete(gateway, key, max_completion_tokens=50)
        except openai.RateLimitError as error:
            refused = error
            break
        ids.append(answer.headers["x-request-id"])
        spent = admin.get("/key/info", key=key)["info"]["spend"]
        rows = admin.get("/spend/logs", api_key=key)
        assert round(sum(row["spend"] for row in rows), 9) == round(spent, 9)
    assert refused is not None and refused.code == "budget_exceeded"
    assert 0 < spent <= 0.0001

    rows = admin.get("/spend/logs", api_key=key)
    assert [row["request_id"] for row in rows] == ids
    for row in rows:
        assert row["spend"] > 0 and row["prompt_tokens"] > 0 and row["completion_tokens"] > 0
        assert row["model"] == "gpt" and row["startTime"] and row["team_id"] == f"blue-{name}"

    # Raised, it works again; the history stays.
    admin.post("/key/update", key=key, max_budget=1)
    complete(gateway, key)
    info = admin.get("/key/info", key=key)["info"]
    assert info["max_budget"] == 1 and info["metadata"] == {"owner": "alice", "tier": 2}
    assert admin.get("/team/info", team_id=team["team_id"])["team_info"]["spend"] >= spent
    report = admin.get("/global/spend/report", start_date="2020-01-01", end_date="2999-01-01", team_id=team["team_id"])
    assert [team["team_name"] for day in report for team in day["teams"]] == ["Blue"] * len(report)

    admin.post("/team/member_add", team_id=team["team_id"], member={"role": "user", "user_id": f"bob-{name}"})
    assert f"bob-{name}" in admin.get("/team/info", team_id=team["team_id"])["team_info"]["members"]
    assert key not in str(admin.get("/user/info", user_id=f"alice-{name}"))

    fresh = admin.post("/key/regenerate", key=key)["key"]
    with pytest.raises(openai.AuthenticationError):
        complete(gateway, key)
    complete(gateway, fresh)
    assert admin.post("/key/delete", keys=[fresh])["deleted_keys"] == [fresh]
    with pytest.raises(openai.AuthenticationError):
        complete(gateway, fresh)


def test_errors_are_as_scripts_expect_them(gateway, admin, name):
    caller = Admin(gateway.url, admin.post("/key/generate")["key"])
    assert caller.post("/key/generate", status=403)["error"]["type"] == "auth_error"
    assert Admin(gateway.url, "sk-nobody").post("/key/generate", status=401)["error"]["code"] == "401"
    assert admin.get("/key/info", status=404, key="key_nobody")["error"]["type"] == "not_found_error"
    assert admin.post("/key/generate", status=400, max_budget=-1)["error"]["param"] == "max_budget"
    assert admin.post("/key/generate", status=400, guardrails=["pii"])["error"]["param"] == "guardrails"
    assert admin.post("/organization/new", status=400)["error"]["param"] == "organization_alias"


def test_a_model_is_made_while_the_gateway_runs(gateway, provider, admin, name):
    made = admin.post(
        "/model/new",
        model_name=f"new-{name}",
        litellm_params={
            "model": "openai/gpt-upstream",
            "api_base": provider.base_url,
            "api_key": "sk-upstream-test",
            "input_cost_per_token": 1.5e-07,
            "output_cost_per_token": 6e-07,
        },
        model_info={"max_output_tokens": 4096, "max_input_tokens": 100_000},
    )
    client = openai.OpenAI(api_key=admin.post("/key/generate", max_budget=1)["key"], base_url=gateway.url + "/v1")
    messages = [{"role": "user", "content": "Say hello"}]
    answer = client.chat.completions.create(model=f"new-{name}", messages=messages, max_completion_tokens=10)
    assert answer.choices[0].message.content
    rows = [row for row in admin.get("/model/info")["data"] if row["model_name"] == f"new-{name}"]
    assert [row["model_info"]["id"] for row in rows] == [made["model_info"]["id"]]
    assert rows[0]["model_info"]["db_model"] and "sk-upstream-test" not in str(rows)
    admin.post("/model/delete", id=made["model_info"]["id"])
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model=f"new-{name}", messages=messages)
