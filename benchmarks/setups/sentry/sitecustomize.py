"""What Sentry's documentation puts at the top of a program: errors, every trace, and logs. The DSN is in SENTRY_DSN."""

import sentry_sdk

sentry_sdk.init(traces_sample_rate=1.0, enable_logs=True)
