package dev.tollgate.client;

import dev.tollgate.v1.AuditServiceGrpc;
import dev.tollgate.v1.BatchServiceGrpc;
import dev.tollgate.v1.BudgetServiceGrpc;
import dev.tollgate.v1.CompletionServiceGrpc;
import dev.tollgate.v1.FileServiceGrpc;
import dev.tollgate.v1.KeyAdminServiceGrpc;
import dev.tollgate.v1.ModelServiceGrpc;
import dev.tollgate.v1.ResponseServiceGrpc;
import dev.tollgate.v1.TenancyServiceGrpc;
import io.grpc.MethodDescriptor;
import java.util.List;
import java.util.Map;

/**
 * gRPC's service config: which calls are tried again, on UNAVAILABLE and before anything came.
 *
 * <p>Those that only read, and creates, which carry a {@code request_id}. Nothing that a model is
 * paid for: where such a call is worth another try, the gateway makes it.
 */
final class Retries {
  static final List<MethodDescriptor<?, ?>> SAFE =
      List.of(
          CompletionServiceGrpc.getCountTokensMethod(),
          ModelServiceGrpc.getListModelsMethod(),
          ModelServiceGrpc.getGetModelMethod(),
          ModelServiceGrpc.getGetRouteStateMethod(),
          ModelServiceGrpc.getExplainRouteMethod(),
          ModelServiceGrpc.getListCatalogueModelsMethod(),
          ModelServiceGrpc.getGetCatalogueModelMethod(),
          ModelServiceGrpc.getCreateModelMethod(),
          ModelServiceGrpc.getListRuntimeModelsMethod(),
          ModelServiceGrpc.getCheckHealthMethod(),
          KeyAdminServiceGrpc.getCreateKeyMethod(),
          KeyAdminServiceGrpc.getGetKeyMethod(),
          KeyAdminServiceGrpc.getListKeysMethod(),
          TenancyServiceGrpc.getCreateOrganizationMethod(),
          TenancyServiceGrpc.getGetOrganizationMethod(),
          TenancyServiceGrpc.getListOrganizationsMethod(),
          TenancyServiceGrpc.getCreateTeamMethod(),
          TenancyServiceGrpc.getGetTeamMethod(),
          TenancyServiceGrpc.getListTeamsMethod(),
          TenancyServiceGrpc.getCreateUserMethod(),
          TenancyServiceGrpc.getGetUserMethod(),
          TenancyServiceGrpc.getListUsersMethod(),
          BudgetServiceGrpc.getCreateBudgetMethod(),
          BudgetServiceGrpc.getGetBudgetMethod(),
          BudgetServiceGrpc.getListBudgetsMethod(),
          BudgetServiceGrpc.getGetSpendMethod(),
          BudgetServiceGrpc.getListLedgerEntriesMethod(),
          BudgetServiceGrpc.getListBudgetAlertsMethod(),
          BudgetServiceGrpc.getListHoldsMethod(),
          BudgetServiceGrpc.getCheckLedgerMethod(),
          BudgetServiceGrpc.getReconcileInvoiceMethod(),
          BudgetServiceGrpc.getCreateAdjustmentMethod(),
          BudgetServiceGrpc.getListAdjustmentsMethod(),
          AuditServiceGrpc.getQueryRecordsMethod(),
          AuditServiceGrpc.getGetBodyMethod(),
          AuditServiceGrpc.getListLegalHoldsMethod(),
          AuditServiceGrpc.getListLogsMethod(),
          AuditServiceGrpc.getGetInclusionProofMethod(),
          AuditServiceGrpc.getGetConsistencyProofMethod(),
          ResponseServiceGrpc.getGetResponseMethod(),
          ResponseServiceGrpc.getGetConversationMethod(),
          ResponseServiceGrpc.getListResponseEventsMethod(),
          FileServiceGrpc.getGetFileMethod(),
          FileServiceGrpc.getListFilesMethod(),
          FileServiceGrpc.getGetFileContentMethod(),
          BatchServiceGrpc.getGetBatchMethod(),
          BatchServiceGrpc.getListBatchesMethod());

  private Retries() {}

  static Map<String, ?> serviceConfig() {
    return Map.of(
        "methodConfig",
        List.of(
            Map.of(
                "name",
                SAFE.stream().map(Retries::name).toList(),
                "retryPolicy",
                Map.of(
                    "maxAttempts",
                    4.0,
                    "initialBackoff",
                    "0.1s",
                    "maxBackoff",
                    "2s",
                    "backoffMultiplier",
                    2.0,
                    "retryableStatusCodes",
                    List.of("UNAVAILABLE")))),
        "retryThrottling",
        Map.of("maxTokens", 20.0, "tokenRatio", 0.5));
  }

  private static Map<String, String> name(MethodDescriptor<?, ?> method) {
    String service = method.getServiceName();
    String name = method.getBareMethodName();
    if (service == null || name == null) {
      throw new IllegalStateException("a method of no service: " + method.getFullMethodName());
    }
    return Map.of("service", service, "method", name);
  }
}
