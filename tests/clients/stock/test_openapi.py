"""Calls made up from the description of the REST surface: none is answered by a failure of the gateway's, and every answer is of the
form that the description promises."""

import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from processes import REPOSITORY

# Each of 29 operations is called so often: more than two thousand calls.
EXAMPLES = 75

schema = schemathesis.openapi.from_path(REPOSITORY / "docs" / "openapi.yaml")


@schema.parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_every_call_is_answered_as_described(case, gateway):
    case.call_and_validate(
        base_url=f"{gateway.url}/v1",
        headers={"authorization": f"Bearer {gateway.key}"},
        timeout=10,
        checks=[
            not_a_server_error,
            status_code_conformance,
            content_type_conformance,
            response_schema_conformance,
        ],
    )
