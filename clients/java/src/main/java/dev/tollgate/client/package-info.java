/**
 * Calls a Tollgate gateway: {@link dev.tollgate.client.Client} is where to begin.
 *
 * <p>Requests and answers are the contract's own messages, {@code dev.tollgate.v1}, generated from
 * {@code proto/tollgate/v1}; this package adds a connection, iterators, helpers and typed errors.
 * Nothing here is null unless it says so.
 */
@NullMarked
package dev.tollgate.client;

import org.jspecify.annotations.NullMarked;
