package dev.tollgate.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;

import com.google.protobuf.Descriptors.FileDescriptor;
import com.google.protobuf.Descriptors.MethodDescriptor;
import com.google.protobuf.Descriptors.ServiceDescriptor;
import dev.tollgate.client.errors.TollgateException;
import dev.tollgate.v1.*;
import io.grpc.Status;
import io.grpc.protobuf.ProtoFileDescriptorSupplier;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.TreeSet;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** What grows in the contract must be thought of here. */
class ContractTest {
  private static final List<FileDescriptor> FILES =
      Stream.of(
              AudioServiceGrpc.getServiceDescriptor(),
              AuditServiceGrpc.getServiceDescriptor(),
              BatchServiceGrpc.getServiceDescriptor(),
              BudgetServiceGrpc.getServiceDescriptor(),
              CompletionServiceGrpc.getServiceDescriptor(),
              EmbeddingServiceGrpc.getServiceDescriptor(),
              FileServiceGrpc.getServiceDescriptor(),
              ImageServiceGrpc.getServiceDescriptor(),
              KeyAdminServiceGrpc.getServiceDescriptor(),
              ModelServiceGrpc.getServiceDescriptor(),
              ModerationServiceGrpc.getServiceDescriptor(),
              RerankServiceGrpc.getServiceDescriptor(),
              ResponseServiceGrpc.getServiceDescriptor(),
              TenancyServiceGrpc.getServiceDescriptor())
          .map(service -> (ProtoFileDescriptorSupplier) service.getSchemaDescriptor())
          .map(Objects::requireNonNull)
          .map(ProtoFileDescriptorSupplier::getFileDescriptor)
          .toList();

  /** They cost money, change something, or go on for ever. */
  private static final Set<String> TRIED_ONCE =
      Set.of(
          "CreateCompletion",
          "StreamCompletion",
          "CreateEmbedding",
          "Rerank",
          "CreateModeration",
          "GenerateImage",
          "StoreResponse",
          "DeleteResponse",
          "BeginResponse",
          "AdvanceResponse",
          "CancelResponse",
          "StreamImage",
          "EditImage",
          "CreateSpeech",
          "CreateTranscription",
          "CreateFile",
          "DeleteFile",
          "CreateBatch",
          "CancelBatch",
          "DeleteModel",
          "UpdateKey",
          "RotateKey",
          "BlockKey",
          "UnblockKey",
          "RevokeKey",
          "ImportKey",
          "UpdateOrganization",
          "DeleteOrganization",
          "UpdateTeam",
          "DeleteTeam",
          "AddTeamMember",
          "RemoveTeamMember",
          "UpdateUser",
          "DeleteUser",
          "MoveKey",
          "UpdateBudget",
          "IncreaseBudget",
          "DeleteBudget",
          "ApproveAdjustment",
          "CloseReplica",
          "WatchSpend",
          "TailRecords",
          "EraseBodies",
          "CreateLegalHold",
          "ReleaseLegalHold",
          "ExportLog");

  @Test
  void everyRpcIsTriedOnceOrMayBeRepeated() {
    Set<String> known = new TreeSet<>(TRIED_ONCE);
    Retries.SAFE.forEach(method -> known.add(String.valueOf(method.getBareMethodName())));
    Set<String> all =
        FILES.stream()
            .map(FileDescriptor::getServices)
            .flatMap(List::stream)
            .map(ServiceDescriptor::getMethods)
            .flatMap(List::stream)
            .map(MethodDescriptor::getName)
            .collect(Collectors.toCollection(TreeSet::new));

    assertEquals(all, known);
  }

  @Test
  void everyCreateThatIsRepeatedHasAnId() {
    for (FileDescriptor file : FILES) {
      for (ServiceDescriptor service : file.getServices()) {
        for (MethodDescriptor method : service.getMethods()) {
          boolean repeated =
              Retries.SAFE.stream()
                  .anyMatch(safe -> method.getName().equals(safe.getBareMethodName()));
          if (repeated && method.getName().startsWith("Create")) {
            assertNotEquals(
                null, method.getInputType().findFieldByName("request_id"), method.getFullName());
          }
        }
      }
    }
  }

  @ParameterizedTest
  @EnumSource(
      value = ErrorReason.class,
      mode = EnumSource.Mode.EXCLUDE,
      names = {"ERROR_REASON_UNSPECIFIED", "UNRECOGNIZED"})
  void everyReasonHasAClass(ErrorReason reason) {
    String name = reason.name().replace("ERROR_REASON_", "");
    TollgateException error =
        TollgateException.of(FakeGateway.refusal(Status.Code.UNKNOWN, name, Map.of()));

    assertEquals(name, error.reason());
    assertNotEquals(TollgateException.class, error.getClass());
  }
}
