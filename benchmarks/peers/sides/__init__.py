"""The peers, a file each; every file runs in its peer's environment."""
