"""One file a migration, numbered; each names the one before it."""
