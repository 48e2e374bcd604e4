"""A receiver of OTLP and of the browser client on one's own machine; the agent knows nothing of it."""
