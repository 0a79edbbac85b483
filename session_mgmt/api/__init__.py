"""REST edge: DRF views that call the verbs and hold no rule; parser, renderer and error answers are their own."""
