"""Live rooms that forget nothing: see `holdfast.channels.api`."""
