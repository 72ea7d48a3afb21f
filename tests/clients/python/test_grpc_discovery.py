"""What a stock gRPC client finds out by itself: health, and the services by reflection."""

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

SERVICES = [
    "tollgate.v1.AuditService",
    "tollgate.v1.BudgetService",
    "tollgate.v1.CompletionService",
    "tollgate.v1.EmbeddingService",
    "tollgate.v1.KeyAdminService",
    "tollgate.v1.ModelService",
]


@pytest.mark.parametrize("service", ["", *SERVICES])
def test_health_says_serving(channel, service):
    request = health_pb2.HealthCheckRequest(service=service)
    answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=20)

    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_health_does_not_know_other_services(channel):
    with pytest.raises(grpc.RpcError) as error:
        health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service="no.such.Service"), timeout=20)

    assert error.value.code() == grpc.StatusCode.NOT_FOUND


def test_reflection_lists_the_services(channel):
    services = ProtoReflectionDescriptorDatabase(channel).get_services()

    assert set(SERVICES) | {"grpc.health.v1.Health"} <= set(services)


def test_reflection_describes_every_rpc(channel):
    pool = DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
    completion = pool.FindServiceByName("tollgate.v1.CompletionService")

    assert [method.name for method in completion.methods] == ["StreamCompletion", "CreateCompletion", "CountTokens"]
    assert completion.methods_by_name["StreamCompletion"].server_streaming
    request = pool.FindMessageTypeByName("tollgate.v1.CompletionRequest")
    assert "max_output_tokens" in request.fields_by_name


def test_an_rpc_that_does_not_exist_is_unimplemented(channel, caller):
    call = channel.unary_unary("/tollgate.v1.CompletionService/NoSuchRpc")
    with pytest.raises(grpc.RpcError) as error:
        call(b"", metadata=caller, timeout=20)

    assert error.value.code() == grpc.StatusCode.UNIMPLEMENTED
