"""Ready-made pages for users who are logged in, in plain HTML without scripts."""
