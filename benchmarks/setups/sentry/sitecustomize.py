"""What Sentry's documentation puts at the top of a program: errors, every trace, and logs. The DSN is in SENTRY_DSN.

Its queue holds 100 reports, and at the end it waits for 2 seconds: it would drop what the others send.
"""

import sentry_sdk

sentry_sdk.init(traces_sample_rate=1.0, enable_logs=True, transport_queue_size=10_000, shutdown_timeout=30)
