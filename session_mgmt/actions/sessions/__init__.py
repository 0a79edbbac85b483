"""Life of a session: create, resume, expire, recover; its connections and tokens."""
