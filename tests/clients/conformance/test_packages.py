"""What each client packs, installed into an empty project outside the repository, runs its README's first program.

The packages are made by `clients/LANGUAGE/check`. TypeScript's own tests do the same with the tarball.
"""

import os
import subprocess

import pytest
from processes import REPOSITORY, Gateway, Provider


class FirstGateway(Gateway):
    """A gateway with the model of the first programs."""

    def _configuration(self, data_dir, base_url):
        configuration = super()._configuration(data_dir, base_url)
        served = {"provider": "scripted", "model": "demo", "price": {"input": "1", "output": "4"}}
        configuration["models"].append({"name": "demo", "deployments": [served]})
        return configuration


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    directory = tmp_path_factory.mktemp("packages")
    with Provider(directory) as provider, FirstGateway(directory, provider) as gateway:
        yield gateway


@pytest.mark.parametrize("language", ["python", "go", "java"])
def test_a_package_installed_elsewhere_runs_the_first_program(gateway, language):
    surroundings = os.environ | {"TOLLGATE_ADDRESS": gateway.url, "TOLLGATE_API_KEY": gateway.key}
    tried = subprocess.run(
        [REPOSITORY / "clients" / language / "try-package"], env=surroundings, capture_output=True, text=True, timeout=600
    )
    assert tried.returncode == 0, tried.stdout + tried.stderr
