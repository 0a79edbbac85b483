"""Code of the process that does heavy work for a server. It imports no Django, so that the process starts fast."""
