"""The state manager under three clients and all that can go wrong: rules to draw from, and laws that must hold."""
