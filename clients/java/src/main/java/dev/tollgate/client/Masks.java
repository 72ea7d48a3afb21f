package dev.tollgate.client;

import com.google.protobuf.FieldMask;
import java.util.List;

/** Which fields an update changes. */
final class Masks {
  private Masks() {}

  static FieldMask of(String... fields) {
    return FieldMask.newBuilder().addAllPaths(List.of(fields)).build();
  }
}
