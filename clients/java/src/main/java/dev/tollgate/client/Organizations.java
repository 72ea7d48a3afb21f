package dev.tollgate.client;

import dev.tollgate.v1.CreateOrganizationRequest;
import dev.tollgate.v1.CreateOrganizationResponse;
import dev.tollgate.v1.DeleteOrganizationRequest;
import dev.tollgate.v1.GetOrganizationRequest;
import dev.tollgate.v1.GetOrganizationResponse;
import dev.tollgate.v1.ListOrganizationsRequest;
import dev.tollgate.v1.ListOrganizationsResponse;
import dev.tollgate.v1.Organization;
import dev.tollgate.v1.TenancyServiceGrpc;
import dev.tollgate.v1.UpdateOrganizationRequest;
import dev.tollgate.v1.UpdateOrganizationResponse;

/** Organizations. Get with an empty id: that of the caller's key. */
public final class Organizations {
  private final Calls calls;

  Organizations(Calls calls) {
    this.calls = calls;
  }

  /**
   * Makes an organization.
   *
   * @param organization what to make; output-only fields are ignored
   * @return it as it was made
   */
  public Organization create(Organization organization) {
    return create(
        CreateOrganizationRequest.newBuilder().setOrganization(organization).build(),
        Options.defaults());
  }

  /**
   * Makes an organization. The same {@code request_id} gives the same one; without one each call
   * has its own.
   *
   * @param request what to make
   * @param options where it differs from the client's defaults
   * @return it as it was made
   */
  public Organization create(CreateOrganizationRequest request, Options options) {
    CreateOrganizationResponse made =
        calls.ask(TenancyServiceGrpc.getCreateOrganizationMethod(), request, options);
    return made.getOrganization();
  }

  /**
   * One organization.
   *
   * @param id which
   * @return it
   */
  public Organization get(String id) {
    return get(GetOrganizationRequest.newBuilder().setId(id).build(), Options.defaults());
  }

  /**
   * One organization.
   *
   * @param request which
   * @param options where it differs from the client's defaults
   * @return it
   */
  public Organization get(GetOrganizationRequest request, Options options) {
    GetOrganizationResponse got =
        calls.ask(TenancyServiceGrpc.getGetOrganizationMethod(), request, options);
    return got.getOrganization();
  }

  /**
   * All that the key may see, oldest first.
   *
   * @return them, page after page
   */
  public Paged<Organization> list() {
    return list(ListOrganizationsRequest.getDefaultInstance(), Options.defaults());
  }

  /**
   * Those that match, oldest first.
   *
   * @param request which, and how many at once
   * @param options where each page's call differs from the client's defaults
   * @return them, page after page
   */
  public Paged<Organization> list(ListOrganizationsRequest request, Options options) {
    return new Paged<>(
        token -> {
          ListOrganizationsRequest next =
              token.isEmpty() ? request : request.toBuilder().setPageToken(token).build();
          ListOrganizationsResponse page =
              calls.ask(TenancyServiceGrpc.getListOrganizationsMethod(), next, options);
          return new Paged.Page<>(page.getOrganizationsList(), page.getNextPageToken());
        });
  }

  /**
   * Changes fields.
   *
   * @param organization its id, the new values, and its {@code etag} to be refused where somebody
   *     else was faster
   * @param fields the fields to change, {@code display_name}; none: those that are set
   * @return it as it is now
   */
  public Organization update(Organization organization, String... fields) {
    UpdateOrganizationRequest request =
        UpdateOrganizationRequest.newBuilder()
            .setOrganization(organization)
            .setUpdateMask(Masks.of(fields))
            .build();
    return update(request, Options.defaults());
  }

  /**
   * Changes fields.
   *
   * @param request what, and which fields
   * @param options where it differs from the client's defaults
   * @return it as it is now
   */
  public Organization update(UpdateOrganizationRequest request, Options options) {
    UpdateOrganizationResponse now =
        calls.ask(TenancyServiceGrpc.getUpdateOrganizationMethod(), request, options);
    return now.getOrganization();
  }

  /**
   * Takes it away; what was spent stays on record.
   *
   * @param id which
   */
  public void delete(String id) {
    delete(DeleteOrganizationRequest.newBuilder().setId(id).build(), Options.defaults());
  }

  /**
   * Takes it away; what was spent stays on record.
   *
   * @param request which
   * @param options where it differs from the client's defaults
   */
  public void delete(DeleteOrganizationRequest request, Options options) {
    var unused = calls.ask(TenancyServiceGrpc.getDeleteOrganizationMethod(), request, options);
  }
}
