/**
 * Why a call failed, one class for each kind: {@link dev.tollgate.client.errors.TollgateException}
 * is above them all.
 */
@NullMarked
package dev.tollgate.client.errors;

import org.jspecify.annotations.NullMarked;
