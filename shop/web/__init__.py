"""The pages. A blueprint a file; a view reads, decides, redirects."""
