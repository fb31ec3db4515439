"""Agents and graphs as tools of the Model Context Protocol: ``aiflow mcp CONFIG.yaml``, over stdio or HTTP.

``Toolbox`` is the tools, ``server`` the protocol's handlers around them, ``run`` the two transports. Needs the extra
``mcp``; importing this package loads nothing of it.
"""
