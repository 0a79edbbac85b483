"""The REST edge: DRF views that call verbs and hold no rule. It brings its own parser, renderer and error answers."""
