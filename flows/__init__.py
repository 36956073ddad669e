"""The Prefect side of usage_rating: schedule, retries, artifacts and notifications around one night's steps.

Nothing here knows how to bill; the core and its command line work without this package.

Prefect reads its settings when it is first imported, so what keeps it quiet is set here, before any module of
this package can import it. A value the operator has set stands.
"""

import os

QUIET = {
    "DO_NOT_TRACK": "1",  # the client's usage events
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",  # the server's heartbeat; it fails loudly offline
    "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
    "PREFECT_TELEMETRY_ENABLE_RESOURCE_METRICS": "false",
    # A first start builds Prefect's database; on a small, busy machine that outlasts the 20 s it is given.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
}

for name, value in QUIET.items():
    os.environ.setdefault(name, value)
