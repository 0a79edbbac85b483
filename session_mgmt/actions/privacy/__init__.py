"""People's rights to their data: all that concerns a user, to hand out and to erase."""
