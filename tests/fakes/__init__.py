"""Stand-ins for what a test machine lacks: devices and their libraries."""
