"""The soak: the real server, used and troubled for minutes on end."""
