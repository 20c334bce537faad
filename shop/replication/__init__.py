"""Carries every commit of the primary to the replica, later: link, replicator, schedule, status, verify."""
