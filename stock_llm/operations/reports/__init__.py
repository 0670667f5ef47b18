"""Pages for people: one version, and two versions side by side."""
