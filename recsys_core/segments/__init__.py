"""Audiences of a night: whom they hold (`audiences`), by which rules of the site (`rules`), and how often users did what those ask for."""
