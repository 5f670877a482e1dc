"""The proof task: knowledge base, resolution, environment, networks, search and ranking."""
