"""Follows the audit log, and goes on where it was when the connection breaks.

`python examples/audit_tail.py [COUNT]` with an admin's key.
"""

import sys
import time

from tollgate import Client, v1
from tollgate.errors import LedgerUnavailable, Overloaded, StoreUnavailable, Unavailable

COMES_BACK = (Overloaded, Unavailable, StoreUnavailable, LedgerUnavailable)


def main(count: int) -> None:
    """Prints so many records, from the beginning of the log."""
    seen = 0
    with Client() as client:
        while count > 0:
            try:
                with client.audit.tail(after_sequence=seen) as records:
                    for record in records:
                        seen, count = record.sequence, count - 1
                        outcome = v1.ErrorReason.Name(record.error_reason).removeprefix("ERROR_REASON_")
                        print(record.time.ToJsonString(), record.action, record.key_id, "ok" if outcome == "UNSPECIFIED" else outcome)
                        if count == 0:
                            return
            except COMES_BACK as error:
                time.sleep(error.retry_after or 1)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100)
