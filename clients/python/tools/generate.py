"""Makes `src/tollgate/v1` from the contract: messages and stubs with their types, and an `__init__` that gathers them."""

import shutil
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
OUT = PACKAGE / "src"

HEAD = '"""The contract `tollgate.v1`: generated from `proto/`, never edited."""\n\n'


def protos() -> Path:
    """Where the contract is: in a source distribution beside `src`, in the repository at its root."""
    for directory in (PACKAGE / "proto", PACKAGE.parents[1] / "proto"):
        if (directory / "tollgate" / "v1").is_dir():
            return directory
    raise FileNotFoundError("the contract `proto/tollgate/v1` is neither beside this package nor at the repository's root")


def generate() -> Path:
    """Generates everything anew and returns its directory."""
    source = protos()
    made = OUT / "tollgate" / "v1"
    shutil.rmtree(made, ignore_errors=True)
    files = sorted(str(file.relative_to(source)) for file in (source / "tollgate" / "v1").glob("*.proto"))
    plugin = shutil.which("protoc-gen-mypy_grpc", path=str(Path(sys.executable).parent)) or "protoc-gen-mypy_grpc"
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{source}", f"--plugin=protoc-gen-mypy_grpc={plugin}"]
    outs = [f"--{kind}_out={OUT}" for kind in ("python", "pyi", "grpc_python")] + [f"--mypy_grpc_out=quiet:{OUT}"]
    subprocess.run([*command, *outs, *files], check=True)
    (made / "__init__.py").write_text(HEAD + gathered(source, files))
    return made


def gathered(source: Path, files: list[str]) -> str:
    """Imports of every message, enum and enum value, so that nobody needs to know which file has it."""
    from google.protobuf import descriptor_pb2

    described = PACKAGE / ".descriptors"
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{source}", f"--descriptor_set_out={described}", *files]
    try:
        subprocess.run(command, check=True)
        found = descriptor_pb2.FileDescriptorSet.FromString(described.read_bytes())
    finally:
        described.unlink(missing_ok=True)
    imports, names = [], []
    for file in found.file:
        module = Path(file.name).stem + "_pb2"
        here = [message.name for message in file.message_type]
        for enum in file.enum_type:
            here += [enum.name, *(value.name for value in enum.value)]
        imports += [f"from tollgate.v1.{module} import (", *(f"    {name}," for name in sorted(here)), ")"]
        names += here
    return "\n".join([*imports, "", "__all__ = [", *(f'    "{name}",' for name in sorted(names)), "]", ""])


if __name__ == "__main__":
    print(generate())
