"""Says in which order things happen. Knows ports, never adapters."""
