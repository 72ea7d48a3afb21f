"""Any RPC of the contract by its name, from a descriptor set: the harness needs no generated code."""

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from google.rpc import error_details_pb2
from grpc_status import rpc_status


class Refused(Exception):
    """An RPC that the gateway refused."""

    def __init__(self, error: grpc.RpcError):
        super().__init__(f"{error.code().name}: {error.details()}")
        self.reason = reason_of(error)


def reason_of(error: grpc.RpcError) -> str | None:
    status = rpc_status.from_call(error)
    for packed in status.details if status else []:
        info = error_details_pb2.ErrorInfo()
        if packed.Unpack(info):
            return info.reason
    return None


@dataclass
class Contract:
    """The protos of a repository, as they are now."""

    pool: descriptor_pool.DescriptorPool = field(default_factory=descriptor_pool.DescriptorPool)

    @classmethod
    def of(cls, repository: Path) -> "Contract":
        protos = repository / "proto"
        files = sorted(str(file.relative_to(protos)) for file in (protos / "tollgate").rglob("*.proto"))
        with tempfile.NamedTemporaryFile() as out:
            command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{protos}", "--include_imports"]
            subprocess.run([*command, f"--descriptor_set_out={out.name}", *files], check=True)
            described = descriptor_pb2.FileDescriptorSet.FromString(Path(out.name).read_bytes())
        contract = cls()
        for file in described.file:
            contract.pool.Add(file)
        return contract

    def call(self, channel: grpc.Channel, rpc: str, request: dict | list[dict], key: str | None) -> dict:
        """Makes a call with one answer, `KeyAdminService/CreateKey`, in proto3 JSON both ways. A list is what the client streams."""
        service, name = rpc.split("/")
        method = self.pool.FindServiceByName(f"tollgate.v1.{service}").FindMethodByName(name)
        asked = message_factory.GetMessageClass(method.input_type)
        answered = message_factory.GetMessageClass(method.output_type)
        kind = channel.stream_unary if isinstance(request, list) else channel.unary_unary
        stub = kind(f"/tollgate.v1.{rpc}", request_serializer=asked.SerializeToString, response_deserializer=answered.FromString)
        if isinstance(request, list):
            message = iter([json_format.ParseDict(each, asked()) for each in request])
        else:
            message = json_format.ParseDict(request, asked())
        try:
            answer = stub(message, metadata=[("authorization", f"Bearer {key}")] if key else [], timeout=20)
        except grpc.RpcError as error:
            raise Refused(error) from error
        return json.loads(json_format.MessageToJson(answer, indent=None))

    def request_of(self, path: str, packed: bytes) -> dict:
        """What a request says whose bytes were sent to a path, `/tollgate.v1.KeyAdminService/CreateKey`."""
        service, name = path.lstrip("/").split("/")
        asked = self.pool.FindServiceByName(service).FindMethodByName(name).input_type
        message = message_factory.GetMessageClass(asked).FromString(packed)
        return json.loads(json_format.MessageToJson(message, indent=None))
