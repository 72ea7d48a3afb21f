package dev.tollgate.client;

import java.net.URI;
import java.net.URISyntaxException;
import java.util.Locale;

/** Where a gateway listens. */
record Address(boolean secure, String host, int port) {
  /** {@code http://host:port} or {@code https://host:port}. */
  static Address parse(String text) {
    try {
      URI uri = new URI(text);
      String scheme = uri.getScheme() == null ? "" : uri.getScheme().toLowerCase(Locale.ROOT);
      boolean secure = scheme.equals("https");
      boolean bare =
          (uri.getRawPath() == null || uri.getRawPath().isEmpty() || uri.getRawPath().equals("/"))
              && uri.getRawQuery() == null
              && uri.getRawFragment() == null
              && uri.getRawUserInfo() == null;
      if ((secure || scheme.equals("http")) && uri.getHost() != null && bare) {
        int port = uri.getPort() >= 0 ? uri.getPort() : secure ? 443 : 80;
        return new Address(secure, uri.getHost(), port);
      }
    } catch (URISyntaxException notAnAddress) {
      // Refused below: the text itself may hold what must not be shown.
    }
    throw new IllegalArgumentException(
        "address: give http://host:port, or https://host:port for TLS, and nothing behind it");
  }

  /** All addresses of the name, by gRPC's own resolver. */
  String target() {
    return "dns:///" + host + ":" + port;
  }
}
