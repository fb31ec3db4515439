"""How several models share one inference: familial models, collaborative decoding, feature compression.

Parties are plain objects over torch; nothing here knows Ray, graphs or sockets.
"""
