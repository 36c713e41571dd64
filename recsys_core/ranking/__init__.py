"""How a night's lists are made: rules of the site, candidates, a blend of their sources, and its order made diverse."""
