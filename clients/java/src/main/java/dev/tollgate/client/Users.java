package dev.tollgate.client;

import dev.tollgate.v1.CreateUserRequest;
import dev.tollgate.v1.CreateUserResponse;
import dev.tollgate.v1.DeleteUserRequest;
import dev.tollgate.v1.GetUserRequest;
import dev.tollgate.v1.GetUserResponse;
import dev.tollgate.v1.ListUsersRequest;
import dev.tollgate.v1.ListUsersResponse;
import dev.tollgate.v1.TenancyServiceGrpc;
import dev.tollgate.v1.UpdateUserRequest;
import dev.tollgate.v1.UpdateUserResponse;
import dev.tollgate.v1.User;

/** Users. Get with an empty id: that of the caller's key. */
public final class Users {
  private final Calls calls;

  Users(Calls calls) {
    this.calls = calls;
  }

  /**
   * Makes a user.
   *
   * @param user what to make; output-only fields are ignored
   * @return it as it was made
   */
  public User create(User user) {
    return create(CreateUserRequest.newBuilder().setUser(user).build(), Options.defaults());
  }

  /**
   * Makes a user. The same {@code request_id} gives the same one; without one each call has its
   * own.
   *
   * @param request what to make
   * @param options where it differs from the client's defaults
   * @return it as it was made
   */
  public User create(CreateUserRequest request, Options options) {
    CreateUserResponse made = calls.ask(TenancyServiceGrpc.getCreateUserMethod(), request, options);
    return made.getUser();
  }

  /**
   * One user.
   *
   * @param id which
   * @return it
   */
  public User get(String id) {
    return get(GetUserRequest.newBuilder().setId(id).build(), Options.defaults());
  }

  /**
   * One user.
   *
   * @param request which
   * @param options where it differs from the client's defaults
   * @return it
   */
  public User get(GetUserRequest request, Options options) {
    GetUserResponse got = calls.ask(TenancyServiceGrpc.getGetUserMethod(), request, options);
    return got.getUser();
  }

  /**
   * All that the key may see, oldest first.
   *
   * @return them, page after page
   */
  public Paged<User> list() {
    return list(ListUsersRequest.getDefaultInstance(), Options.defaults());
  }

  /**
   * Those that match, oldest first.
   *
   * @param request which, and how many at once
   * @param options where each page's call differs from the client's defaults
   * @return them, page after page
   */
  public Paged<User> list(ListUsersRequest request, Options options) {
    return new Paged<>(
        token -> {
          ListUsersRequest next =
              token.isEmpty() ? request : request.toBuilder().setPageToken(token).build();
          ListUsersResponse page =
              calls.ask(TenancyServiceGrpc.getListUsersMethod(), next, options);
          return new Paged.Page<>(page.getUsersList(), page.getNextPageToken());
        });
  }

  /**
   * Changes fields.
   *
   * @param user its id, the new values, and its {@code etag} to be refused where somebody else was
   *     faster
   * @param fields the fields to change, {@code display_name}; none: those that are set
   * @return it as it is now
   */
  public User update(User user, String... fields) {
    UpdateUserRequest request =
        UpdateUserRequest.newBuilder().setUser(user).setUpdateMask(Masks.of(fields)).build();
    return update(request, Options.defaults());
  }

  /**
   * Changes fields.
   *
   * @param request what, and which fields
   * @param options where it differs from the client's defaults
   * @return it as it is now
   */
  public User update(UpdateUserRequest request, Options options) {
    UpdateUserResponse now = calls.ask(TenancyServiceGrpc.getUpdateUserMethod(), request, options);
    return now.getUser();
  }

  /**
   * Takes it away; what was spent stays on record.
   *
   * @param id which
   */
  public void delete(String id) {
    delete(DeleteUserRequest.newBuilder().setId(id).build(), Options.defaults());
  }

  /**
   * Takes it away; what was spent stays on record.
   *
   * @param request which
   * @param options where it differs from the client's defaults
   */
  public void delete(DeleteUserRequest request, Options options) {
    var unused = calls.ask(TenancyServiceGrpc.getDeleteUserMethod(), request, options);
  }
}
