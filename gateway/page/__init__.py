"""The person's page at `/`: static files, served as they are. No framework, nothing from other hosts, no build step."""
