"""Nodes of a topology as network namespaces of this machine, joined by links that are shaped for real."""

from aiflow.cluster.shaped.cluster import ShapedCluster, clusters, down

__all__ = ["ShapedCluster", "clusters", "down"]
