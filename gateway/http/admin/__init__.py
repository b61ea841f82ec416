"""`/admin/v1`: everything operators do, one module per resource.

A resource is a module with a tuple ``ROUTES`` of `AdminRoute`; `table.py` lists the modules.
"""
