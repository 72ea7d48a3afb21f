package dev.tollgate.client;

import dev.tollgate.v1.BlockKeyRequest;
import dev.tollgate.v1.CreateKeyRequest;
import dev.tollgate.v1.CreateKeyResponse;
import dev.tollgate.v1.GetKeyRequest;
import dev.tollgate.v1.ImportKeyRequest;
import dev.tollgate.v1.ImportKeyResponse;
import dev.tollgate.v1.Key;
import dev.tollgate.v1.KeyAdminServiceGrpc;
import dev.tollgate.v1.ListKeysRequest;
import dev.tollgate.v1.ListKeysResponse;
import dev.tollgate.v1.MoveKeyRequest;
import dev.tollgate.v1.RevokeKeyRequest;
import dev.tollgate.v1.RotateKeyRequest;
import dev.tollgate.v1.RotateKeyResponse;
import dev.tollgate.v1.TenancyServiceGrpc;
import dev.tollgate.v1.UnblockKeyRequest;
import dev.tollgate.v1.UpdateKeyRequest;

/** Virtual keys. Secrets are told once: by {@link #create} and {@link #rotate}. */
public final class Keys {
  private final Calls calls;

  Keys(Calls calls) {
    this.calls = calls;
  }

  /**
   * Makes a key.
   *
   * @param key what to make; output-only fields are ignored
   * @return the key and its secret, which cannot be read again
   */
  public CreateKeyResponse create(Key key) {
    return create(CreateKeyRequest.newBuilder().setKey(key).build(), Options.defaults());
  }

  /**
   * Makes a key, with budgets if the request has some. The same {@code request_id} gives the same
   * key, and its secret only the first time: where the answer to the first try was lost, the secret
   * is empty, and {@link #rotate} makes another.
   *
   * @param request what to make
   * @param options where it differs from the client's defaults
   * @return the key and its secret, which cannot be read again
   */
  public CreateKeyResponse create(CreateKeyRequest request, Options options) {
    return calls.ask(KeyAdminServiceGrpc.getCreateKeyMethod(), request, options);
  }

  /**
   * One key.
   *
   * @param id which; empty: the caller's own
   * @return it, without its secret
   */
  public Key get(String id) {
    return get(GetKeyRequest.newBuilder().setId(id).build(), Options.defaults());
  }

  /**
   * One key, by id or by secret.
   *
   * @param request the request
   * @param options where it differs from the client's defaults
   * @return it, without its secret
   */
  public Key get(GetKeyRequest request, Options options) {
    return calls.ask(KeyAdminServiceGrpc.getGetKeyMethod(), request, options).getKey();
  }

  /**
   * All that the caller may see, oldest first.
   *
   * @return them, page after page
   */
  public Paged<Key> list() {
    return list(ListKeysRequest.getDefaultInstance(), Options.defaults());
  }

  /**
   * Those that match, oldest first.
   *
   * @param request which, and how many at once
   * @param options where each page's call differs from the client's defaults
   * @return them, page after page
   */
  public Paged<Key> list(ListKeysRequest request, Options options) {
    return new Paged<>(
        token -> {
          ListKeysRequest next =
              token.isEmpty() ? request : request.toBuilder().setPageToken(token).build();
          ListKeysResponse page = calls.ask(KeyAdminServiceGrpc.getListKeysMethod(), next, options);
          return new Paged.Page<>(page.getKeysList(), page.getNextPageToken());
        });
  }

  /**
   * Changes fields.
   *
   * @param key its id, the new values, and its {@code etag} to be refused where somebody else was
   *     faster
   * @param fields the fields to change, {@code display_name}; none: those that are set
   * @return the key as it is now
   */
  public Key update(Key key, String... fields) {
    UpdateKeyRequest request =
        UpdateKeyRequest.newBuilder().setKey(key).setUpdateMask(Masks.of(fields)).build();
    return update(request, Options.defaults());
  }

  /**
   * Changes fields.
   *
   * @param request the request
   * @param options where it differs from the client's defaults
   * @return the key as it is now
   */
  public Key update(UpdateKeyRequest request, Options options) {
    return calls.ask(KeyAdminServiceGrpc.getUpdateKeyMethod(), request, options).getKey();
  }

  /**
   * Gives a key a new secret; the old one ends at once.
   *
   * @param id the key
   * @return the key and its new secret, which cannot be read again
   */
  public RotateKeyResponse rotate(String id) {
    return rotate(RotateKeyRequest.newBuilder().setId(id).build(), Options.defaults());
  }

  /**
   * Gives a key a new secret; the old one may go on working for a time.
   *
   * @param request the request
   * @param options where it differs from the client's defaults
   * @return the key and its new secret, which cannot be read again
   */
  public RotateKeyResponse rotate(RotateKeyRequest request, Options options) {
    return calls.ask(KeyAdminServiceGrpc.getRotateKeyMethod(), request, options);
  }

  /**
   * Refuses a key's calls until it is unblocked.
   *
   * @param id the key
   * @return the key as it is now
   */
  public Key block(String id) {
    return block(BlockKeyRequest.newBuilder().setId(id).build(), Options.defaults());
  }

  /**
   * Refuses a key's calls until it is unblocked.
   *
   * @param request the request
   * @param options where it differs from the client's defaults
   * @return the key as it is now
   */
  public Key block(BlockKeyRequest request, Options options) {
    return calls.ask(KeyAdminServiceGrpc.getBlockKeyMethod(), request, options).getKey();
  }

  /**
   * Takes the block away.
   *
   * @param id the key
   * @return the key as it is now
   */
  public Key unblock(String id) {
    return unblock(UnblockKeyRequest.newBuilder().setId(id).build(), Options.defaults());
  }

  /**
   * Takes the block away.
   *
   * @param request the request
   * @param options where it differs from the client's defaults
   * @return the key as it is now
   */
  public Key unblock(UnblockKeyRequest request, Options options) {
    return calls.ask(KeyAdminServiceGrpc.getUnblockKeyMethod(), request, options).getKey();
  }

  /**
   * Ends a key for good; its history stays.
   *
   * @param id the key
   * @return the key as it is now
   */
  public Key revoke(String id) {
    return revoke(RevokeKeyRequest.newBuilder().setId(id).build(), Options.defaults());
  }

  /**
   * Ends a key for good; its history stays.
   *
   * @param request the request
   * @param options where it differs from the client's defaults
   * @return the key as it is now
   */
  public Key revoke(RevokeKeyRequest request, Options options) {
    return calls.ask(KeyAdminServiceGrpc.getRevokeKeyMethod(), request, options).getKey();
  }

  /**
   * Moves a key to another team, user or both.
   *
   * @param request the request
   * @param options where it differs from the client's defaults
   * @return the key as it is now
   */
  public Key move(MoveKeyRequest request, Options options) {
    return calls.ask(TenancyServiceGrpc.getMoveKeyMethod(), request, options).getKey();
  }

  /**
   * Takes a key over that another gateway issued, by its hash.
   *
   * @param request the request
   * @param options where it differs from the client's defaults
   * @return the key, and whether it was there before
   */
  public ImportKeyResponse importKey(ImportKeyRequest request, Options options) {
    return calls.ask(KeyAdminServiceGrpc.getImportKeyMethod(), request, options);
  }
}
