"""The command's half of a search: settings, progress, the outcome, its table."""
