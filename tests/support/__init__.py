"""What the tests stand on: an OTLP receiver, services under highlight-run, and one-shot programs."""
