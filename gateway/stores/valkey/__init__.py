"""The rebuildable index in Valkey (or Redis ≥ 6.2): live tasks, due queue, health, budgets.

One server or one primary with replicas, any number of gateway processes. Not a cluster: scripts
derive task keys from ids. Every key starts with ``igw:``.
"""
