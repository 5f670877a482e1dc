"""How facts and rules are written down: logic notations, and lines of tables."""
