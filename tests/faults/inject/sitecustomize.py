"""On PYTHONPATH of a program under test this is the `sitecustomize` that the agent's own shadows, and runs first."""

import highlight_faults

highlight_faults.start()
