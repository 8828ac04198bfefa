"""The training loop, its schedules, and validation while it runs."""
