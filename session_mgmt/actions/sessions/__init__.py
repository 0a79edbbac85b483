"""Sessions: create, resume, expire, recover and end them; their connections and tokens."""
