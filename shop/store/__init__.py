"""The embedded store: persistent maps, a journal with group commit, a checkpoint. It knows nothing of shops, replicas or the web."""
