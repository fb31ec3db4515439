"""The pieces of the graphs, for graphs of your own: small async functions over agents, and agents as nodes."""
