"""Ready pages for people with a login of the project, plain HTML that needs no script."""
