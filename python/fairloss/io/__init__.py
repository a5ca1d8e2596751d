"""Files: atomic writing, versioned JSON, digests and the run folder."""
